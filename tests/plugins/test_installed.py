"""The way of a plugin author: wheel of dpib, ``dpib new``, wheel of the plugin, then list, run and verify."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("core", "plugins", "leaderboard", "tests/controls", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


class Environment:
    """A fresh virtual environment that sees the libraries of the running one, but not its dpib."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (site,) = (folder / "venv/lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def __call__(self, program: str, *arguments: str | Path) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
            "OMP_NUM_THREADS": "1"
        }
        command = [self.folder / "venv/bin" / program, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program} {arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, source: Path) -> None:
        build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", source)
        subprocess.run([sys.executable, *build], check=True, capture_output=True)
        (wheel,) = (source / "dist").glob("*.whl")
        target = ("-m", "pip", "--python", self.folder / "venv/bin/python", "install")
        quietly = ("--no-deps", "--no-index", "--force-reinstall", "--quiet", "--disable-pip-version-check")
        subprocess.run([sys.executable, *target, *quietly, wheel], check=True, capture_output=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment with dpib installed from a wheel."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "dpib-source"
    source.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    environment = Environment(folder)
    environment.install(source)
    return environment


def test_a_scaffold_runs_from_its_wheel(environment: Environment) -> None:
    package = Path(environment("dpib", "new", "my-method").strip())
    environment.install(environment.folder / package)
    rows = {(row["kind"], row["name"]): row for row in json.loads(environment("dpib", "plugins", "--json"))}
    assert rows["method", "my-method"]["distribution"] == "dpib-plugin-my-method"
    assert rows["method", "my-method"]["version"] == "0.1.0"
    assert {row["state"] for row in rows.values()} == {"ok"}
    environment("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", environment.folder / package)

    point = ("--dataset", "digits", "--epsilon", "1", "--track", "demo", "--quiet")
    record = json.loads(environment("dpib", "run", "my-method", *point, "--json"))
    assert record["status"] == "complete"
    assert record["method"]["layers"] == ["default", "demo.digits", "demo.digits.eps1"]
    (path,) = (environment.folder / "runs").glob("*/*/my-method/*/record.json")
    environment("dpib", "verify", path, "--no-scores", "--quiet")
