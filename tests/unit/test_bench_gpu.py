"""The slot runner for a GPU: it stops in time, continues, and never takes a part for the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dpib.progress import RunEvent

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import bench.gpu.__main__ as command

    return command


def test_rates_and_projections_count_what_this_call_did(command: Any) -> None:
    watch = command.Stopwatch(deadline=100, clock=lambda: 0)
    for done, seconds in ((40, 1.0), (50, 3.0), (60, 5.0)):
        watch(RunEvent("advanced", "fit", done, 200, seconds))
    (stage,) = watch.stages
    assert (stage.rate, stage.projected_seconds) == (5.0, 40.0)


def test_the_slot_ends_a_run_as_an_interrupt(command: Any) -> None:
    watch = command.Stopwatch(deadline=100, clock=lambda: 100)
    with pytest.raises(KeyboardInterrupt):
        watch(RunEvent("advanced", "fit", 1, 2, 1.0))


def test_cheap_methods_come_first_and_public_data_fits(command: Any) -> None:
    planned = command.units("paper", 10.0)
    names = [unit["method"] for unit in planned]
    assert names.index("dp-gan") > max(i for i, name in enumerate(names) if name == "dp-merf")
    from dpib import catalogue

    paper = catalogue.track("paper")
    assert command.public_for(paper, "mnist") == "imagenet-32"
    assert command.public_for(paper, "celeba-male-64") == "imagenet-64"


def test_a_run_is_continued_over_slots_and_has_a_record_only_at_the_end(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slot(minutes: float) -> dict[str, Any]:
        arguments = ["--minutes", str(minutes), "--runs", str(tmp_path), "--device", "cpu", "--track", "demo"]
        monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments, "--method", "dp-means", "--no-engine", "--json"])
        command.main()
        (unit,) = json.loads(capsys.readouterr().out)["units"]
        return dict(unit)

    assert slot(1e-4)["status"] == "to be continued"
    assert json.loads((tmp_path / "figures.json").read_text())["units"][0]["status"] == "to be continued"
    assert not list(tmp_path.rglob("record.json"))
    assert slot(10)["status"] == "complete"
    assert len(list(tmp_path.rglob("record.json"))) == 1
