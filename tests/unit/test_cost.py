"""What a run took: seconds per stage over repeated stages and sessions."""

from __future__ import annotations

import json
from pathlib import Path

from dpib.machine import CostClock
from dpib.progress import RunEvent


def _stage(clock: CostClock, name: str, *seconds: float) -> None:
    clock(RunEvent("started", name))
    for moment in seconds[:-1]:
        clock(RunEvent("advanced", name, seconds=moment))
    clock(RunEvent("finished", name, seconds=seconds[-1]))


def test_stages_of_one_name_and_sessions_of_one_run_add_up(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    clock = CostClock(path)
    _stage(clock, "public pretraining", 100.0, 300.0)
    _stage(clock, "public pretraining", 0.5)
    clock(RunEvent("advanced", "fit", seconds=7.0))
    assert clock.seconds == {"public pretraining": 300.5, "fit": 7.0}
    assert json.loads(path.read_text())["seconds"] == {"public pretraining": 300.5}, "saved as the stage ended"
    resumed = CostClock(path)
    _stage(resumed, "public pretraining", 1.0)
    _stage(resumed, "generate", 2.0)
    cost = resumed.block("cpu")
    assert cost.seconds == {"public pretraining": 301.5, "generate": 2.0}
    assert cost.peak_memory_bytes > 0
