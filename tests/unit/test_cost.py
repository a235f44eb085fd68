"""What a run took: seconds per stage over repeated stages and sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpib.context import RunContext
from dpib.files import taking_turns
from dpib.learning import pretrain_once, shared_in
from dpib.machine import CostClock
from dpib.progress import PRETRAIN_STAGE, WAIT_STAGE, Reporter, RunEvent
from dpib.query import row_of
from dpib.records import load_record
from dpib.seeds import Seeds

SUBMISSIONS = Path(__file__).parents[2] / "submissions"


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
    vectors = torch.backends.cpu.get_cpu_capability()
    assert f", {vectors}, " in cost.hardware, "one name may stand for processors of several generations"


def test_waiting_for_somebody_elses_pretraining_is_not_pretraining(tmp_path: Path) -> None:
    clock = CostClock(tmp_path / "cost.json")
    context = RunContext(tmp_path / "state", "cpu", Seeds(0), Reporter(clock))
    job: Any = SimpleNamespace(pretraining_basis=dict, method=SimpleNamespace(source_digest=""))
    images: Any = SimpleNamespace(spec=None, categories=None, data=SimpleNamespace(fingerprint=""))
    method: Any = SimpleNamespace(pretrain=lambda images, place: None)
    pretrain_once(job, method, images, context, shared_in(tmp_path, context))
    assert WAIT_STAGE not in clock.seconds, "there was nobody"
    (folder,) = (tmp_path / "pretrain").iterdir()
    with ExitStack() as other:
        other.enter_context(taking_turns(folder, nullcontext))
        threading.Timer(0.5, other.close).start()
        pretrain_once(job, method, images, context, shared_in(tmp_path, context))
    assert clock.seconds[WAIT_STAGE] > 0.4 and clock.seconds[PRETRAIN_STAGE] < 0.4


def test_waiting_is_in_no_cost() -> None:
    record = load_record(next(SUBMISSIONS.glob("lite-v1/mnist/dp-merf/*/record.json")))
    cost = record.cost
    waited = cost.model_copy(
        update={"seconds": {**cost.seconds, WAIT_STAGE: 600.0}, "total_seconds": cost.total_seconds + 600.0}
    )
    ours, theirs = row_of(record), row_of(record.model_copy(update={"cost": waited}))
    assert [theirs[name] for name in ("minutes", "pretrain_minutes", "learn_minutes")] == pytest.approx(
        [ours[name] for name in ("minutes", "pretrain_minutes", "learn_minutes")], abs=0.0011
    )


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
