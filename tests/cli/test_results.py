"""``dpib results``: the right folder, one format, never less ε than was spent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dpib.cli.main import app
from dpib.cli.results import print_standings
from dpib.files import SUBMISSIONS
from dpib.query import results as query_results
from dpib.standings import standings


def results(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["results", *arguments])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one run, ``runs`` below the working directory."""
    monkeypatch.chdir(tmp_path)
    record = next((SUBMISSIONS / "lite-v1" / "mnist" / "dp-merf").glob("*/record.json"))
    place = record.relative_to(SUBMISSIONS)
    (tmp_path / "runs" / place.parent).mkdir(parents=True)
    shutil.copy(record, tmp_path / "runs" / place)
    return tmp_path / "runs"


@pytest.mark.parametrize("folder", ["runs/lite-v1", "runs/lite-v1/mnist", "runs/lite-v1/mnist/dp-merf", "."])
def test_a_folder_in_the_runs_or_above_is_told_from_an_empty_one(folder: str, runs: Path) -> None:
    done = results("--runs", folder)
    assert done.exit_code == 2
    assert "is no folder of runs, but runs is: give --runs runs." in done.stderr
    assert results("--runs", "runs").exit_code == 0


def test_a_folder_without_records_says_how_to_make_one(runs: Path) -> None:
    shutil.rmtree(runs / "lite-v1")
    done = results("--runs", "runs")
    assert done.exit_code == 0 and "No records below runs. Start with" in done.stderr


@pytest.mark.parametrize("formats", [("--json", "--csv"), ("--csv", "--latex"), ("--json", "--csv", "--latex")])
def test_formats_exclude_one_another(formats: tuple[str, ...], runs: Path) -> None:
    done = results("--runs", "runs", *formats)
    assert done.exit_code == 2 and "Choose one of --json, --csv and --latex." in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("form", "printed"), [("--json", "[]\n"), ("--csv", ""), ("--latex", "")])
def test_every_format_is_told_why_there_is_nothing(form: str, printed: str, runs: Path) -> None:
    done = results("--runs", "runs", "--dataset", "digits", form)
    assert done.exit_code == 0 and done.stdout == printed
    assert "None of the 1 records below runs is of that kind" in done.stderr


def test_epsilon_spent_is_never_shown_lower_than_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    frame = query_results(SUBMISSIONS, track="lite", dataset="mnist", method="dp-merf", epsilon=1.0)
    print_standings(standings(frame.assign(spent_epsilon=0.98741)))
    assert "0.9875" in capsys.readouterr().out
