"""Throw-away distributions on ``sys.path``, and a registry that knows nothing of what is installed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from shipping import Ship, SmallBuiltIn

from dpib import loading, plugins


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start from an empty registry; only throw-away distributions are found."""
    before = set(sys.modules)
    monkeypatch.delenv("DPIB_PLUGINS", raising=False)
    monkeypatch.delenv("DPIB_STRICT_PLUGINS", raising=False)
    monkeypatch.setattr(plugins, "BuiltIn", SmallBuiltIn)
    installed = {
        (entry.name, entry.value) for group in ("dpib", "dpib.commands") for entry in entry_points(group=group)
    }
    monkeypatch.setattr(
        loading,
        "entry_points",
        lambda group: [one for one in entry_points(group=group) if (one.name, one.value) not in installed],
    )
    plugins.registry.cache_clear()
    yield
    plugins.registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("throwaway", "dpib_plugin_file")):
            del sys.modules[name]


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Return a function that puts a distribution with entry points and modules on ``sys.path``."""

    def make(
        distribution: str, entries: Mapping[str, str], sources: Mapping[str, str] | None = None, group: str = "dpib"
    ) -> None:
        site = tmp_path / f"site-{distribution}"
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        for module, source in (sources or {}).items():
            path = site / module
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        monkeypatch.syspath_prepend(site)

    return make
