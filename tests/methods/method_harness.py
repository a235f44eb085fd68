"""The real harness around a method, on digits, in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dpib.context import RunContext
from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds


class Silent(NoiseSource):
    """No noise at all, so that exact answers can be compared. Only tests may do this."""

    def __init__(self) -> None:
        super().__init__(bytes(32))

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        return exact


def labels_learnt(generator: nn.Module) -> list[Tensor]:
    """Return a list that grows by the labels of every batch that a generator is trained on from now on."""
    seen: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
        if torch.is_grad_enabled():
            seen.append(inputs[1].clone())

    generator.register_forward_pre_hook(look)
    return seen


@dataclass
class Harness:
    """One process of one run; a second one on the same folder is a resumed run."""

    folder: Path
    data: LabelledImages
    epsilon: float | None = 10.0
    seed: int = 0
    noise: NoiseSource | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.task = DIGITS.task()
        self.context = RunContext(self.folder, "cpu", Seeds(self.seed), Reporter())
        budget = Budget(epsilon=self.epsilon, delta=DIGITS.delta)
        self.ledger = PrivacyLedger(LedgerFile(self.folder / "ledger.jsonl"), "train", budget, "session")
        self.private = PrivateDataset(self.data, self.task, self.ledger, self.noise or Silent(), self.context)
