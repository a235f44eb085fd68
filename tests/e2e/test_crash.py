"""kill -9 at every moment that matters, then the same call: a complete record, and a ledger that never under-counts.

Everything that lasts goes through fsync, so the moments between two fsyncs are all the states a crash can leave.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dpib import plugins
from dpib.job import Job, make_spec, prepare
from dpib.privacy.ledger import parse_charges, read_ledger_lines
from dpib.runner import run_job
from dpib.spec import ClassifierSpec
from dpib.workspace import Workspace

TOY = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small run. One is made here, so that forked children find its noise calibrated already."""
    torch.set_num_threads(1)
    plugins.load_file(TOY)
    ready = prepare(make_spec("toy", "digits", 5.0, "demo"))
    small = ready.track.model_copy(
        update={
            "n_images": 60,
            "metrics": ("accuracy",),
            "classifiers": (
                ClassifierSpec(name="small-cnn", epochs=2, batch_size=32, optimizer="adam", learning_rate=1e-3),
            ),
        }
    )
    ready = dataclasses.replace(ready, track=small)
    run_job(ready, tmp_path_factory.mktemp("warm"), quiet=True)
    return ready


def _run_in_child(job: Job, runs: Path, kill_at: int | None, every_checkpoint: bool = True) -> bool:
    """Run in a forked child that kills itself before (even) or after (odd) its n-th fsync; True if it ended well."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _arm(kill_at)
        code = 1
        try:
            if every_checkpoint:
                import dpib.context

                dpib.context.CHECKPOINT_EVERY_SECONDS = 0.0
            run_job(job, runs, quiet=True)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the run failed instead of being killed or finishing"
    return True


def _arm(kill_at: int | None) -> None:
    real, calls = os.fsync, iter(range(10**9))

    def fsync(handle: int) -> None:
        n = next(calls)
        if kill_at is not None and n == kill_at // 2 and kill_at % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
        if kill_at is not None and n == kill_at // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync


def _check(job: Job, runs: Path) -> None:
    workspace = Workspace(runs, job.spec)
    record = workspace.finished()
    assert record is not None and record.status == "complete"
    charges, executed = parse_charges(read_ledger_lines(workspace.ledger_path))
    assert sorted((c.side, c.label) for c in charges) == [
        ("train", "class sums"),
        ("train", "train"),
        ("validation", "select epoch of small-cnn"),
    ]
    assert executed == {"train-0001": 1, "train-0002": 6, "validation-0001": 1}
    assert record.privacy.spent_epsilon is not None and 0.98 * 5 <= record.privacy.spent_epsilon <= 5
    assert not (workspace.folder / "noise.secret").exists()
    assert not list(workspace.folder.rglob(".*.partial")), "something half-written stayed"


@pytest.mark.timeout(900)
def test_killed_at_any_durable_write_the_same_call_completes(job: Job, tmp_path: Path) -> None:
    moment, runs = 0, tmp_path / "runs"
    finished = False
    while not finished:  # one run folder, killed again and again, each time one durable write later
        finished = _run_in_child(job, runs / str(moment), moment)
        if not finished:
            assert _run_in_child(job, runs / str(moment), None)
        _check(job, runs / str(moment))
        moment += 9  # alternates before and after a write; the test below goes through every moment in one folder
    assert moment > 30, "fewer durable writes than a run makes"


def test_killed_twenty_times_in_one_folder_it_still_completes_within_budget(job: Job, tmp_path: Path) -> None:
    for moment in range(1, 40):
        if _run_in_child(job, tmp_path, moment):
            break
    else:
        assert _run_in_child(job, tmp_path, None)
    _check(job, tmp_path)


def test_interrupted_run_releases_exactly_what_an_uninterrupted_one_would(job: Job, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    secret = "0" * 16 + "ab" * 32
    for runs in (straight, broken):
        folder = Workspace(runs, job.spec).folder
        folder.mkdir(parents=True)
        (folder / "noise.secret").write_text(secret)
    assert _run_in_child(job, straight, None)
    for moment in (21, 27, 33):
        _run_in_child(job, broken, moment)
    assert _run_in_child(job, broken, None)
    a, b = (Workspace(runs, job.spec).finished() for runs in (straight, broken))
    assert a is not None and b is not None
    assert a.synthetic.digest == b.synthetic.digest
    assert a.scores == b.scores


def test_a_full_disk_at_any_write_is_told_and_the_same_call_completes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    for moment in (0, 3, 7, 12, 17):
        calls = iter(range(10**9))

        def full(handle: int, moment: int = moment, calls: Iterator[int] = calls) -> None:
            if next(calls) == moment:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run_job(job, tmp_path / str(moment), quiet=True)
        monkeypatch.setattr(os, "fsync", real)
        run_job(job, tmp_path / str(moment), quiet=True)
        _check(job, tmp_path / str(moment))
