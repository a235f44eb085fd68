"""What a run took: seconds per stage over repeated stages and sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


KEPT = """
import sys
from pathlib import Path
from dpib.machine import CostClock

ballast = [b"x" * 100_000 for _ in range(3_000)]
alive = b"x" * 100_000  # above the ballast, so that the heap cannot shrink from its end
first = CostClock(Path(sys.argv[1]) / "a.json").block("cpu").peak_memory_bytes
del ballast
second = CostClock(Path(sys.argv[1]) / "b.json").block("cpu").peak_memory_bytes
print(first - second)
"""


def test_what_an_earlier_run_of_the_process_freed_is_not_this_runs_memory(tmp_path: Path) -> None:
    """With a heap that keeps everything, as people set it for speed."""
    heap = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
    command = [sys.executable, "-c", KEPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **heap})
    assert int(done.stdout) > 250_000_000
