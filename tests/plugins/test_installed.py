"""What is released: the wheel is whole, the sdist makes the same wheel, and a plugin author's way works from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpib.__about__ import __version__

ROOT = Path(__file__).parents[2]
SHIPPED = ("core", "plugins", "leaderboard", "tests/controls", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


PACKAGES = {
    "dpib": ROOT / "core/dpib",
    "dpib_controls": ROOT / "tests/controls/dpib_controls",  # `dpib audit` plays them beside every method
    "dpib_leaderboard": ROOT / "leaderboard/dpib_leaderboard",
    "dpib_plugins": ROOT / "plugins/dpib_plugins",
}


def built(source: Path, kind: str) -> Path:
    """Return the wheel or the sdist of a source folder."""
    build = ("-m", "build", f"--{kind}", "--no-isolation", "--outdir", source / "dist", source)
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (source / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


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

    def install(self, wheel: Path) -> None:
        target = ("-m", "pip", "--python", self.folder / "venv/bin/python", "install")
        quietly = ("--no-deps", "--no-index", "--force-reinstall", "--quiet", "--disable-pip-version-check")
        subprocess.run([sys.executable, *target, *quietly, wheel], check=True, capture_output=True)


@dataclass(frozen=True)
class Released:
    """What a release of this tree consists of, and an environment with it."""

    wheel: Path
    sdist: Path
    environment: Environment


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Build this tree, and install the wheel that comes out of the sdist."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "dpib-source"
    source.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    wheel, sdist = built(source, "wheel"), built(source, "sdist")
    shutil.unpack_archive(sdist, folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    again = built(unpacked, "wheel")
    assert contents(again) == contents(wheel), "the sdist lacks files"
    environment = Environment(folder)
    environment.install(again)
    return Released(wheel, sdist, environment)


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel but those that pip writes about it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.fixture
def environment(released: Released) -> Environment:
    """Return an environment with dpib installed from its wheel."""
    return released.environment


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(released: Released) -> None:
    ours = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    theirs = {name: content for name, content in contents(released.wheel).items() if ".dist-info/" not in name}
    assert theirs.keys() == ours.keys()
    assert theirs == ours


def test_the_version_has_one_source(released: Released) -> None:
    assert f"dpib-{__version__}-" in released.wheel.name
    assert f"dpib-{__version__}.tar.gz" == released.sdist.name
    assert released.environment("dpib", "--version").strip() == __version__
    rows = json.loads(released.environment("dpib", "plugins", "--json"))
    assert {row["version"] for row in rows if row["distribution"] == "dpib"} == {__version__}
    code = "import dpib, importlib.metadata as m; print(dpib.__version__, m.version('dpib'))"
    assert released.environment("python", "-c", code).split() == [__version__, __version__]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [__version__]


def test_a_scaffold_runs_from_its_wheel(environment: Environment) -> None:
    package = Path(environment("dpib", "new", "my-method").strip())
    environment.install(built(environment.folder / package, "wheel"))
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
