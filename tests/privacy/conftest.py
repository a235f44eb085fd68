"""Small real things: 64 images of 8x8, a private dataset with noise from a known secret, a ledger in a fresh folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dpib.context import RunContext
from dpib.data.images import LabelledImages
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger, Side
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter, RunEvent
from dpib.seeds import Seeds
from dpib.spec import Relation, TaskInfo, delta_for

SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(1, 33))
DELTA = delta_for(55_000)
TASK = TaskInfo(dataset="toy", shape=(1, 8, 8), classes=("a", "b", "c"), nominal_size=64)

torch.set_num_threads(1)
FSYNC = os.fsync


@pytest.fixture(autouse=True, scope="package")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of small ledgers are written here; that they are flushed is tested where ``FSYNC`` is put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def make_images(n: int = 64, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *TASK.shape), dtype=torch.uint8, generator=generator)
    return LabelledImages(images, torch.arange(n) % TASK.n_classes)


@dataclass
class Bench:
    """A private dataset with everything around it in reach."""

    private: PrivateDataset
    ledger: PrivacyLedger
    noise: NoiseSource
    context: RunContext
    events: list[RunEvent]
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()


def open_bench(
    folder: Path,
    data: LabelledImages | None = None,
    *,
    epsilon: float | None = None,
    noise: NoiseSource | None = None,
    session: str = "session",
    seed: int = 0,
    task: TaskInfo = TASK,
    side: Side = "train",
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> Bench:
    """Open a run folder as the harness does; by default without a limit, so that nothing has to be priced."""
    events: list[RunEvent] = []
    context = RunContext(folder / "state", "cpu", Seeds(seed), Reporter(events.append))
    path = folder / "ledger.jsonl"
    ledger = PrivacyLedger(LedgerFile(path), side, Budget(epsilon=epsilon, delta=DELTA), session, relation)
    noise = noise or NoiseSource(SECRET)
    private = PrivateDataset(make_images() if data is None else data, task, ledger, noise, context)
    return Bench(private, ledger, noise, context, events, path)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path)


@pytest.fixture
def images() -> LabelledImages:
    return make_images()
