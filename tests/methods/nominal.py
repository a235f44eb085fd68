"""What a method charges at a dataset's nominal size, without the dataset."""

from __future__ import annotations

from pathlib import Path

import torch

from dpib import catalogue
from dpib.context import RunContext
from dpib.data.images import LabelledImages
from dpib.privacy import accountants
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds
from dpib.synthesizer import MethodConfig, Synthesizer

SENSITIVE = sorted(card.name for card in catalogue.datasets() if card.role == "sensitive")


def recomputed_epsilon(
    method: type[Synthesizer], config: MethodConfig, dataset: str, epsilon: float, folder: Path
) -> float:
    """Return ε of the charges of a run on no records, by PLD from the events alone."""
    card = catalogue.dataset(dataset)
    task = card.task()
    context = RunContext(folder, "cpu", Seeds(0), Reporter())
    ledger = PrivacyLedger(
        LedgerFile(folder / "ledger.jsonl"), "train", Budget(epsilon=epsilon, delta=card.delta), "session"
    )
    nobody = LabelledImages(torch.zeros((0, *task.shape), dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    method(config, task, context).fit(PrivateDataset(nobody, task, ledger, NoiseSource.from_os(), context))
    return accountants.epsilon([charge.event for charge in ledger.charges], card.delta)
