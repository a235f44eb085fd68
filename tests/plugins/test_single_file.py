"""A method in one Python file, without packaging."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from shipping import Ship, method_source

from dpib import catalogue, plugins
from dpib.errors import PluginError

CLASS = """
from dpib.api import Synthesizer

class Mine(Synthesizer):
    def fit(self, private): ...
    def generate(self, labels): ...
"""


def source(name: str) -> str:
    return CLASS + method_source(name, "@:Mine").replace('"@:Mine"', 'f"{__name__}:Mine"')


def test_a_file_brings_a_method_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source("mine"))
    assert plugins.load_file(path).methods[0].card.name == "mine"
    method = catalogue.method("mine")
    assert (method.distribution, method.version) == ("mine.py", "unpackaged")
    assert method.load().__name__ == "Mine"
    content = path.read_bytes()
    assert method.source_digest == hashlib.sha256(f"mine.py\0{len(content)}\0".encode() + content).hexdigest()


def test_an_unchanged_file_is_loaded_once_and_an_edited_one_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source("mine"))
    first = plugins.load_file(path)
    assert plugins.load_file(str(path)) is first
    path.write_text(source("other"))
    assert plugins.load_file(path).methods[0].card.name == "other"
    assert "mine" not in plugins.registry().method_names


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.py", None, "cannot be read: No such file"),
        ("wrong.txt", "x = 1", "must end in '.py'"),
        ("syntax.py", "def broken(:", r"SyntaxError: invalid syntax \(syntax.py, line 1\)"),
        ("empty.py", "", "implements no dpib hook"),
        ("raises.py", "1/0", "ZeroDivisionError"),
        ("exits.py", "raise SystemExit(1)", "SystemExit"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    before = set(sys.modules)
    with pytest.raises(PluginError, match=reason):
        plugins.load_file(tmp_path / name)
    assert not {module for module in set(sys.modules) - before if module.startswith("dpib_plugin_file")}


def test_a_class_named_by_the_files_own_name_gets_the_form_that_works(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CLASS + method_source("mine", "mine:Mine"))
    with pytest.raises(PluginError, match=r'write implementation=f"{__name__}:Mine" instead of "mine:Mine"'):
        plugins.load_file(path)


def test_a_file_may_not_claim_an_installed_name(ship: Ship, tmp_path: Path) -> None:
    ship("one", {"taken": "throwaway_one"}, {"throwaway_one.py": method_source("taken")})
    path = tmp_path / "mine.py"
    path.write_text(source("taken"))
    with pytest.raises(PluginError, match=r"claimed by one 1\.0 and by /.*/mine\.py"):
        plugins.load_file(path)
    assert plugins.load_method("taken").distribution == "one"
