"""Commands of other packages: listed, called, and isolated."""

from __future__ import annotations

import sys

from shipping import Ship, dataset_source, method_source
from typer.testing import CliRunner

from dpib.cli.main import app

COMMAND = '''
from typing import Annotated
import typer

def greet(name: str, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
    """Greet [somebody].

    In one
    paragraph.

    Args:
        name: hidden.
    """
    typer.echo(f"hello {name}" + "!" * loud)
'''

GROUP = "dpib.commands"


def test_a_command_of_another_package_is_listed_and_called(ship: Ship) -> None:
    ship("one", {"greet": "throwaway_one:greet"}, {"throwaway_one.py": COMMAND}, group=GROUP)
    assert "Greet [somebody]." in CliRunner().invoke(app, ["--help"]).output
    assert CliRunner().invoke(app, ["greet", "you", "--loud"]).output == "hello you!\n"
    shown = CliRunner().invoke(app, ["greet", "--help"]).output
    assert "In one paragraph." in shown
    assert "hidden" not in shown


def test_it_is_not_imported_for_a_built_in_command(ship: Ship) -> None:
    ship("one", {"greet": "throwaway_one:greet"}, {"throwaway_one.py": COMMAND}, group=GROUP)
    assert CliRunner().invoke(app, ["tracks", "--json"]).exit_code == 0
    assert "throwaway_one" not in sys.modules


def test_it_may_not_replace_a_built_in_command(ship: Ship) -> None:
    ship("one", {"tracks": "throwaway_one:greet"}, {"throwaway_one.py": COMMAND}, group=GROUP)
    assert "demo-v1" in CliRunner().invoke(app, ["tracks"]).output


def test_a_broken_command_breaks_nothing_else(ship: Ship) -> None:
    ship("one", {"bad": "throwaway_bad:x"}, {"throwaway_bad.py": "1/0"}, group=GROUP)
    ship("two", {"greet": "throwaway_one:greet"}, {"throwaway_one.py": COMMAND}, group=GROUP)
    assert "broken" in CliRunner().invoke(app, ["--help"]).output
    assert CliRunner().invoke(app, ["greet", "you"]).exit_code == 0
    result = CliRunner().invoke(app, ["bad"])
    assert result.exit_code == 3
    assert "of one 1.0 is broken" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_a_command_claimed_twice_is_refused(ship: Ship) -> None:
    for name in ("one", "two"):
        ship(name, {"greet": "throwaway_one:greet"}, {"throwaway_one.py": COMMAND}, group=GROUP)
    result = CliRunner().invoke(app, ["greet", "you"])
    assert result.exit_code == 3
    assert "one 1.0" in result.stderr
    assert "two 1.0" in result.stderr


def test_plugins_lists_broken_ones_with_the_reason(ship: Ship) -> None:
    sources = {"throwaway_bad.py": "1/0", "throwaway_good.py": method_source("good")}
    ship("one", {"bad": "throwaway_bad", "good": "throwaway_good"}, sources)
    result = CliRunner().invoke(app, ["plugins"])
    assert result.exit_code == 0
    assert "ZeroDivisionError" in result.stdout
    assert sys.executable in result.stderr
    assert "Traceback" not in result.output
    assert "Traceback" in CliRunner().invoke(app, ["plugins", "--verbose"]).stderr


def test_datasets_of_plugins_are_listed(ship: Ship) -> None:
    ship("one", {"mine": "throwaway_mine"}, {"throwaway_mine.py": dataset_source("my-data")})
    assert "my-data" in CliRunner().invoke(app, ["datasets"]).stdout
