"""Exit codes, messages, and a help page that is quick."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dpib.__about__ import __version__
from dpib.cli.commands import BUILT_IN
from dpib.cli.main import app, reported_errors
from dpib.errors import BudgetExceeded, ConfigError, DataError, RunError, StorageError

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def dpib(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dpib", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_help_lists_every_command_with_its_line() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for row in BUILT_IN:
        assert any(row.name in line and row.help in line for line in result.stdout.splitlines()), row.name


def test_help_is_quick() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = dpib("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "verify" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0  # CPU seconds: others may be busy


def test_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == __version__


@pytest.mark.parametrize("arguments", [["rnu"], ["tracks", "--nothing"], ["new"], ["datasets", "mnits"]])
def test_misuse_exits_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


def _caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/runs/images.parquet")


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (ConfigError("wrong key"), 2, "Error: wrong key"),
        (BudgetExceeded("too much"), 1, "Error: too much"),
        (DataError("absent"), 3, "Error: absent"),
        (FULL, 3, "the disk is full (/runs/images.parquet)"),
        (_caused_by(RuntimeError("cannot save"), FULL), 3, "the disk is full"),
        (_caused_by(RunError("stage failed"), FULL), 3, "the disk is full"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "notes/x"), 3, "read or write notes/x: Not a directory"),
        (_caused_by(StorageError("no room in runs/"), FULL), 3, "Error: no room in runs/"),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            3,
            "torch and torchvision are builds that do not fit",
        ),
        (KeyboardInterrupt(), 130, "The same command resumes"),
    ],
)
def test_a_deliberate_error_is_one_message(
    error: BaseException, exit_code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stopped, reported_errors():
        raise error
    captured = capsys.readouterr()
    assert stopped.value.exit_code == exit_code
    assert message in captured.err
    assert captured.out == ""


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported_errors():
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), reported_errors():
        raise FileNotFoundError(errno.ENOENT, "gone")


GRID = '[[runs]]\ntrack = "demo"\nmethods = ["uniform"]\ndatasets = ["digits"]\nepsilons = [1]\nseeds = [0]\n'


@pytest.mark.parametrize(
    "words",
    [
        ["new", "mine", "--dir"],
        ["check", "uniform", "--quiet", "--json", "--runs"],
        ["run", "small.toml", "--quiet", "--runs"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_in_the_place_of_a_folder_is_one_message(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(GRID)
    Path("notes").write_text("no folder")
    result = CliRunner().invoke(app, [*words, "notes"])
    assert result.exit_code == 3
    assert "Error: Cannot read or write notes" in result.stderr
    if words[0] == "check":  # what it took minutes to find out is not lost
        assert json.loads(result.stdout)["method"] == "uniform"


def test_errors_of_commands_reach_the_exit_code() -> None:
    done = dpib("datasets", "mnits")
    assert done.returncode == 2
    assert "Did you mean 'mnist'" in done.stderr
    assert "Traceback" not in done.stderr
