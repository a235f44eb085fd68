"""What earlier runs left in modules is gone, and comes back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dpib.errors import PluginError
from dpib.testing.afresh import imported_anew


def test_a_package_is_new_inside_and_the_old_one_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving").mkdir()
    (tmp_path / "leaving" / "__init__.py").write_text("")
    (tmp_path / "leaving" / "cache.py").write_text("kept = []")
    monkeypatch.syspath_prepend(tmp_path)
    from leaving import cache  # type: ignore[import-not-found]

    cache.kept.append("a record")
    with imported_anew("leaving.cache:Anything"):
        from leaving import cache as anew

        assert anew.kept == []
    assert sys.modules["leaving.cache"] is cache and cache.kept == ["a record"]


def test_what_a_script_defines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(PluginError, match="a file or package of its own"), imported_anew("__main__:Mine"):
        pass
