"""Whole runs on a GPU: every method that the demo track takes, two at a time, stopped and continued."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dpib
from dpib import catalogue
from dpib.job import make_spec, prepare
from dpib.progress import RunEvent
from dpib.runner import run_job
from dpib.verify import verify

METHODS = sorted(method.card.name for method in catalogue.methods() if method.card.public_data != "required")


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_cuda_is_complete_and_its_claims_hold(method: str, tmp_path: Path) -> None:
    record = dpib.run(method, dataset="digits", epsilon=10, track="demo", device="cuda", runs=tmp_path, quiet=True)
    assert record.status == "complete"
    assert record.cost.device == "cuda" and (record.cost.peak_gpu_bytes or 0) > 0
    (folder,) = (path.parent for path in tmp_path.rglob("record.json"))
    wrong = [check for check in verify(folder, device="cuda").checks if not check.holds]
    assert not wrong


def test_a_run_that_was_stopped_continues_on_cuda_within_its_budget(tmp_path: Path) -> None:
    job = prepare(make_spec("dpdm", "digits", 10.0, "demo"))
    told: list[RunEvent] = []

    def stop(event: RunEvent) -> None:
        told.append(event)
        if event.kind == "advanced" and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path, device="cuda", observers=[stop], quiet=True)
    assert told and not list(tmp_path.rglob("record.json"))
    record = run_job(job, tmp_path, device="cuda", quiet=True)
    assert record.status == "complete"
    assert record.privacy.spent_epsilon is not None and record.privacy.spent_epsilon <= 10


def test_two_runs_at_a_time_share_one_gpu(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text('[[runs]]\ntrack = "demo"\nmethods = ["dp-merf", "dp-gan"]\ndatasets = "digits"\nepsilons = 10\n')
    command = [sys.executable, "-m", "dpib", "run", str(grid), "--jobs", "2", "--device", "cuda"]
    done = subprocess.run(
        [*command, "--runs", str(tmp_path / "runs")], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("record.json"))) == 2
