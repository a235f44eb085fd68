"""Entry points are loaded one by one, and a bad one takes down nothing but itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shipping import Ship, dataset_source, method_source

from dpib import catalogue, plugins
from dpib.errors import PluginError, UnknownName
from dpib.plugins import PluginRegistry, PluginStatus
from dpib.progress import RunEvent


def status_of(name: str, statuses: list[PluginStatus]) -> PluginStatus:
    (found,) = [status for status in statuses if status.name == name]
    return found


def test_a_method_is_loaded_alone(ship: Ship) -> None:
    ship(
        "one",
        {"first": "throwaway_first", "second": "throwaway_second"},
        {"throwaway_first.py": method_source("first"), "throwaway_second.py": "raise RuntimeError"},
    )
    method = plugins.load_method("first")
    assert (method.card.name, method.distribution, method.version) == ("first", "one", "1.0")
    assert "throwaway_second" not in sys.modules


def test_an_unknown_method_names_the_nearest_without_loading(ship: Ship) -> None:
    ship("one", {"first": "throwaway_first"}, {"throwaway_first.py": "raise RuntimeError"})
    with pytest.raises(UnknownName, match="Did you mean 'first'"):
        plugins.load_method("frist")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1/0", "ZeroDivisionError.*throwaway_bad.py, line 1"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "implements no dpib hook"),
        ("from dpib.api import hookimpl\n@hookimpl\ndef dpib_synthesisers(): return []", "unknown hook"),
        ("from dpib.api import hookimpl\n@hookimpl\ndef dpib_synthesizers(registry): return []", "registry"),
        ("from dpib.api import hookimpl\n@hookimpl\ndef dpib_synthesizers(): return [3]", "must return Method objects"),
        ("from dpib.api import hookimpl\n@hookimpl\ndef dpib_synthesizers(): return 3", "TypeError"),
        (dataset_source("half").replace("[CARDS", "2 * [CARDS"), "brings the dataset 'half' 2 times"),
        (method_source("other"), "named 'bad' but registers the method 'other'"),
        (
            dataset_source("half")
            + method_source("bad").replace("return [", "raise ValueError('half way')\n    return ["),
            "half way",
        ),
    ],
)
def test_a_broken_plugin_is_listed_and_nothing_of_it_stays(ship: Ship, source: str, reason: str) -> None:
    ship("one", {"bad": "throwaway_bad", "good": "throwaway_good"}, {"throwaway_bad.py": source})
    ship("two", {}, {"throwaway_good.py": method_source("good")})
    statuses = plugins.load_all()
    bad = status_of("bad", statuses)
    assert (bad.state, bad.distribution, bad.version) == ("broken", "one", "1.0")
    assert bad.details.startswith("Traceback")
    assert status_of("good", statuses).state == "ok"
    with pytest.raises(PluginError, match=r"Plugin 'bad' of one 1\.0"):
        plugins.load_method("bad")
    with pytest.raises(PluginError, match=reason):
        plugins.load_method("bad")
    with pytest.raises(UnknownName):
        catalogue.dataset("half")


def test_two_distributions_that_claim_a_method_are_both_refused(ship: Ship) -> None:
    ship("one", {"same": "throwaway_one"}, {"throwaway_one.py": method_source("same")})
    ship("two", {"same": "throwaway_two"}, {"throwaway_two.py": method_source("same")})
    with pytest.raises(PluginError, match=r"claimed by (one 1.0 and by two|two 1.0 and by one) 1.0"):
        plugins.load_method("same")
    assert status_of("same", plugins.load_all()).state == "conflict"
    assert "throwaway_one" not in sys.modules


def test_plugins_that_claim_a_dataset_are_all_refused(ship: Ship) -> None:
    for name in ("one", "two", "three"):
        module = f"throwaway_{name}"
        ship(name, {name: module}, {f"{module}.py": dataset_source("mine")})
    statuses = plugins.load_all()
    assert {status_of(name, statuses).state for name in ("one", "two", "three")} == {"conflict"}
    assert "one 1.0" in status_of("two", statuses).reason
    with pytest.raises(UnknownName):
        catalogue.dataset("mine")


def test_a_built_in_dataset_stands_against_a_plugin_of_the_same_name(ship: Ship) -> None:
    ship("one", {"one": "throwaway_one"}, {"throwaway_one.py": dataset_source("digits")})
    assert status_of("one", plugins.load_all()).state == "conflict"
    assert catalogue.dataset("digits").title


def test_strict_mode_raises_at_the_first_broken_plugin(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    ship("one", {"bad": "throwaway_bad"}, {"throwaway_bad.py": "1/0"})
    monkeypatch.setenv("DPIB_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        plugins.load_all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"first", "second", "inside"}),
        ("", {"inside"}),
        ("One_Dist", {"first", "inside"}),
        ("second, nobody", {"second", "inside"}),
    ],
)
def test_the_environment_restricts_external_plugins(
    ship: Ship, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: set[str]
) -> None:
    ship("one.dist", {"first": "throwaway_first"})
    ship("two", {"second": "throwaway_second"})
    ship("dpib", {"inside": "throwaway_inside"})
    if value is not None:
        monkeypatch.setenv("DPIB_PLUGINS", value)
    assert set(PluginRegistry().method_names) == expected


def test_a_plugin_without_a_method_is_not_run_as_one(ship: Ship) -> None:
    ship("one", {"mine": "throwaway_mine"}, {"throwaway_mine.py": dataset_source("my-data")})
    with pytest.raises(PluginError, match="brings no method"):
        plugins.load_method("mine")


def test_damaged_metadata_takes_nothing_down(ship: Ship, tmp_path: Path) -> None:
    ship("one", {"first": "throwaway_first"}, {"throwaway_first.py": method_source("first")})
    ship("two", {"second": "throwaway_second"}, {"throwaway_second.py": method_source("second")})
    (metadata,) = (tmp_path / "site-one").glob("*/METADATA")
    metadata.unlink()
    assert plugins.load_method("second").distribution == "two"
    assert plugins.load_method("first").distribution == "unknown"


def test_observers_hear_events_of_a_run(ship: Ship) -> None:
    source = "from dpib.api import hookimpl\nheard = []\n@hookimpl\ndef dpib_event(event): heard.append(event)"
    ship("one", {"ear": "throwaway_ear"}, {"throwaway_ear.py": source})
    assert status_of("ear", plugins.load_all()).kind == "plugin"
    event = RunEvent("note", "", message="hello")
    plugins.observe(event)
    assert sys.modules["throwaway_ear"].heard == [event]


def test_loading_twice_imports_once(ship: Ship) -> None:
    source = "import builtins\nbuiltins.throwaway_count = getattr(builtins, 'throwaway_count', 0) + 1\n1/0"
    ship("one", {"bad": "throwaway_bad"}, {"throwaway_bad.py": source})
    plugins.load_all()
    plugins.load_all()
    import builtins

    count = builtins.__dict__.pop("throwaway_count")
    assert count == 1
