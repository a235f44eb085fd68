"""The public names of the package are functions, whatever submodules were imported before."""

from __future__ import annotations

import importlib
import pkgutil

import dpib


def test_no_submodule_hides_a_public_name() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(dpib.__path__)}
    assert not submodules & set(dpib.__all__)
    importlib.import_module("dpib.query")
    assert callable(dpib.run) and callable(dpib.results)
