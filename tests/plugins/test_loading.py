"""Dotted paths and source digests."""

from __future__ import annotations

from pathlib import Path

import pytest
from shipping import Ship, method_source

from dpib import catalogue
from dpib.errors import PluginError
from dpib.loading import module_folder, resolve, source_digest


def test_resolve_finds_what_a_path_names() -> None:
    assert resolve("pathlib:Path") is Path
    assert resolve("os.path:join.__name__") == "join"


@pytest.mark.parametrize(
    ("dotted", "reason"),
    [
        ("pathlib", "Expected 'package.module:Name'"),
        ("pathlib:", "Expected 'package.module:Name'"),
        ("pathlib:Nothing", "does not exist"),
        ("no_such_package.module:X", "No module named 'no_such_package'"),
    ],
)
def test_resolve_says_what_is_wrong(dotted: str, reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        resolve(dotted)


def test_resolve_says_where_a_module_fails(ship: Ship) -> None:
    ship("one", {}, {"throwaway_one.py": "x = 1\nraise RuntimeError('boom')"})
    with pytest.raises(PluginError, match=r"RuntimeError: boom \(.*throwaway_one.py, line 2\)"):
        resolve("throwaway_one:X")


def test_a_method_must_be_a_synthesizer(ship: Ship) -> None:
    ship("one", {"m": "throwaway_one"}, {"throwaway_one.py": method_source("m", "pathlib:Path")})
    with pytest.raises(PluginError, match="is not a Synthesizer"):
        catalogue.method("m").load()


def test_the_digest_covers_sources_and_presets_of_the_whole_package(ship: Ship, tmp_path: Path) -> None:
    files = {"__init__.py": "1/0", "a/b.py": "x = 1", "a/presets.toml": "[default]"}
    ship("one", {}, {f"throwaway_pkg/{name}": text for name, text in files.items()})
    root = tmp_path / "site-one" / "throwaway_pkg"
    seen = {source_digest("throwaway_pkg.a.b:Class")}
    assert seen == {source_digest("throwaway_pkg")}
    (root / "notes.txt").write_text("ignored")
    assert source_digest("throwaway_pkg") in seen
    for change in ("a/presets.toml", "a/b.py", "a/new.py", "__init__.py"):
        (root / change).write_text("# changed")
        assert source_digest("throwaway_pkg") not in seen
        seen.add(source_digest("throwaway_pkg"))
    (root / "a/b.py").rename(root / "a/c.py")
    assert source_digest("throwaway_pkg") not in seen


def test_an_absent_package_has_no_digest_and_no_folder() -> None:
    for function in (source_digest, module_folder):
        with pytest.raises(PluginError, match="cannot be found"):
            function("no_such_package")
