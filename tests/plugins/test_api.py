"""What plugins import: sorted, complete and light."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import dpib.api
from dpib.__about__ import API_VERSION

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there_and_sorted() -> None:
    assert dpib.api.__all__ == sorted(dpib.api.__all__)
    assert dir(dpib.api) == dpib.api.__all__
    for name in dpib.api.__all__:
        assert getattr(dpib.api, name) is not None
    assert dpib.api.API_VERSION == API_VERSION


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        dpib.api.__getattr__("nothing")


@pytest.mark.parametrize(
    "statement",
    [
        "import dpib.api, dpib.spec, dpib.records, dpib.catalogue, dpib.config",
        "import dpib.cli.main, dpib.cli.lists, dpib.cli.new",
        "from dpib import catalogue as all; all.datasets(), all.tracks(), all.metrics(), all.methods()",
    ],
)
def test_torch_is_not_imported(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert 'torch' not in sys.modules"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_loading_every_built_in_method_leaves_opacus_and_dp_accounting_alone() -> None:
    """They take seconds to load; only training and pricing need them."""
    code = """
        import sys
        from dpib import catalogue
        import dpib.grids.execute, dpib.grids.plan

        methods = [method for method in catalogue.methods() if method.distribution == "dpib"]
        assert len(methods) > 10
        for method in methods:
            method.load()
        assert "torch" in sys.modules
        assert not {"opacus", "dp_accounting"} & set(sys.modules)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment)


def test_setup_cfg_lists_every_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    roots = dict(line.split(" = ") for line in setup["options"]["package_dir"].split("\n") if line)
    found = {
        ".".join((package, *mark.parent.relative_to(ROOT / folder).parts))
        for package, folder in roots.items()
        for mark in (ROOT / folder / "py.typed", *(ROOT / folder).rglob("__init__.py"))
    }
    listed = setup["options"]["packages"].split()
    assert listed == sorted(listed)
    assert set(listed) == found
