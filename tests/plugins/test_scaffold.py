"""What ``dpib new`` writes is a plugin that loads."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpib import config
from dpib.cli.main import app
from dpib.contribution import InstalledMethod, collect
from dpib.errors import ConfigError
from dpib.new import write_plugin
from dpib.spec import RunSpec


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a scaffold whose package can be imported."""
    folder = write_plugin("my-method2", tmp_path)
    monkeypatch.syspath_prepend(folder / "src")
    yield folder
    for name in [name for name in sys.modules if name.startswith("dpib_plugin_my_method2")]:
        del sys.modules[name]


def test_every_file_is_whole(written: Path) -> None:
    files = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", ".github/workflows/ci.yml"} <= files
    for path in written.rglob("*.*"):
        if path.is_file() and path.suffix != ".yml":
            assert "$" not in path.read_text(), path
    for path in written.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    for path in written.rglob("*.toml"):
        tomllib.loads(path.read_text())
    assert "${{ matrix.python }}" in (written / ".github/workflows/ci.yml").read_text()
    assert len((written / "src/dpib_plugin_my_method2/method.py").read_text().splitlines()) <= 60
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["dpib"] == {"my-method2": "dpib_plugin_my_method2"}
    assert project["dependencies"][0].startswith("dpib>=0.1.0,<0.")


def test_its_hook_registers_a_method_whose_class_and_presets_load(written: Path) -> None:
    import dpib_plugin_my_method2  # type: ignore[import-not-found]

    (method,) = collect(dpib_plugin_my_method2, "my-method2", "dpib-plugin-my-method2", "0.1.0").methods
    installed = InstalledMethod(method, "dpib-plugin-my-method2", "0.1.0")
    assert installed.card.name == "my-method2"
    spec = RunSpec(method="my-method2", track="demo-v1", dataset="digits", epsilon=1.0)
    resolved = config.resolve(method, installed.load().Config, spec)
    assert resolved.layers == ("default", "demo.digits", "demo.digits.eps1")
    assert len(installed.source_digest) == 64


@pytest.mark.parametrize("name", ["", "My", "my_method", "-my", "my-", "my--method", "1st", "ä", "a/b", "a" * 41])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="Expected a name"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["none", "true", "false"])
def test_a_name_whose_class_python_refuses_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' would be called {name.capitalize()}, a word of Python"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dpib-plugin-mine").mkdir()
    result = CliRunner().invoke(app, ["new", "mine", "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert not list((tmp_path / "dpib-plugin-mine").iterdir())


def test_the_command_prints_the_folder_and_what_comes_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["new", "mine", "--dir", str(tmp_path)])
    assert result.exit_code == 0
    assert Path(result.stdout.strip()) == tmp_path / "dpib-plugin-mine"
    assert "pip install -e" in result.stderr
