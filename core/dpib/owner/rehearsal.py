"""A rehearsal without images: which accesses a method will make, at which noise, before anything is spent.

The method's own code runs on an empty set with throw-away noise, and every training loop is skipped. What it charges
depends on public facts alone, so that it is what the real run will charge.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch

from dpib.context import RunContext, Stateful
from dpib.data.images import LabelledImages, PublicDataset
from dpib.dataset_spec import DatasetSpec
from dpib.learning import learn
from dpib.owner.request import OwnerJob
from dpib.privacy.ledger import Budget, Charge, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds
from dpib.spec import TaskInfo

T = TypeVar("T")


class _SkippingContext(RunContext):
    """Computes single values without keeping them and goes through no loop."""

    def once(self, name: str, compute: Callable[[], T]) -> T:
        self._path(name)
        return compute()

    def recall(self, name: str) -> Any:  # noqa: ARG002
        return None

    def steps(self, name: str, total: int, carry: Mapping[str, Stateful]) -> Iterator[int]:  # noqa: ARG002
        self._path(name)
        return iter(())


def _blank(task: TaskInfo, n: int) -> LabelledImages:
    return LabelledImages(torch.zeros((n, *task.shape), dtype=torch.uint8), torch.arange(n) % task.n_classes)


def _blank_public(card: DatasetSpec, task: TaskInfo) -> PublicDataset:
    """Return a few blank public images of every class of a card."""
    n = max(2 * task.n_classes, len(card.classes))
    return PublicDataset(card, _blank(task, n), torch.arange(n) % len(card.classes))


def rehearse(job: OwnerJob) -> tuple[Charge, ...]:
    """Return the accesses that the method will make, in order.

    Raises:
        DpibError: if the method would be refused: its budget does not suffice, a mechanism cannot price it.
    """
    task, settings = job.task, job.settings
    with tempfile.TemporaryDirectory(prefix="dpib-rehearsal-") as scratch:
        folder = Path(scratch)
        context = _SkippingContext(folder, "cpu", Seeds(settings.spec.seed), Reporter())
        budget = Budget(epsilon=settings.spec.epsilon, delta=job.delta)
        ledger = PrivacyLedger(LedgerFile(folder / "ledger.jsonl"), "train", budget, "rehearsal")
        synthesizer = settings.synthesizer(settings.resolved.config, task, context)
        private = PrivateDataset(_blank(task, 0), task, ledger, NoiseSource.from_os(), context)
        public = _blank_public(settings.public, task) if settings.public else None
        learn(
            settings,
            synthesizer,
            private,
            public,
            context,
            lambda _: nullcontext(_SkippingContext(folder, "cpu", Seeds(0), Reporter())),
        )
        return ledger.charges
