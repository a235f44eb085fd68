"""One real run per session, submissions made of it, and a local Hub."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

import pytest
from localhub import Hub, running
from making import FILES, Make, changed

import dpib
from dpib.records import RunRecord, load_record
from dpib_leaderboard import recompute as process
from dpib_leaderboard import review as reviewing
from dpib_leaderboard.rules import place_of


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``dp-means`` on digits; DPIB_TEST_RUN names one made beforehand."""
    if made := os.environ.get("DPIB_TEST_RUN"):
        return Path(made)
    runs = tmp_path_factory.mktemp("runs")
    dpib.run("dp-means", dataset="digits", epsilon=10.0, track="demo", runs=runs, quiet=True)
    (record,) = runs.rglob("record.json")
    return record.parent


@pytest.fixture
def record(run_folder: Path) -> RunRecord:
    return load_record(run_folder / "record.json")


@pytest.fixture
def make(run_folder: Path, record: RunRecord, tmp_path: Path) -> Make:
    """Make a submission folder: the real run, with a change to its record or its ledger."""

    def _make(
        change: Callable[[dict[str, Any]], object] | None = None,
        ledger: bytes | None = None,
        root: Path | None = None,
    ) -> Path:
        def both(plain: dict[str, Any]) -> None:
            if ledger is not None:
                plain["privacy"]["ledger_digest"] = hashlib.sha256(ledger).hexdigest()
            if change is not None:
                change(plain)

        made = changed(record, both)
        folder = (root or tmp_path / "store") / place_of(made)
        folder.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(run_folder / name, folder / name)
        (folder / "record.json").write_text(made.to_json())
        if ledger is not None:
            (folder / "ledger.jsonl").write_bytes(ledger)
        return folder

    return _make


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Run what the review does in a process of its own in this one: the same code without the start of Python."""

    def here(folder: Path, *, scores: bool, data_dir: Path | None = None, **limits: object) -> process.Recomputed:
        cache = tmp_path_factory.mktemp("answer")
        monkeypatch.chdir(cache)
        return process.compute(folder, scores, data_dir, cache)

    monkeypatch.setattr(reviewing, "recompute", here)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the review starts its process: everything here has to be refused before."""

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("the images were opened")

    monkeypatch.setattr(reviewing, "recompute", never)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    with running(server):
        yield server
