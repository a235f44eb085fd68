"""How much of its noise gs-wgan can bear: its demo preset on digits, with the charged noise scaled by a factor.

    python -m bench.gs_wgan_noise                     # the table of docs/methods/gs-wgan.md
    python -m bench.gs_wgan_noise 10,20,300,0         # parts, warm-up, steps, factor

A factor below 1 protects nobody; digits are public. Prints the noise multiplier of the matrix, the share of generated
digits that are nearest to the mean of their class, and the test accuracy of a logistic regression on 1,000 of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tomllib
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from dpib.context import RunContext
from dpib.data.catalog.digits import CARD
from dpib.data.load import load_splits
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds
from dpib_plugins import gs_wgan
from dpib_plugins.gs_wgan.method import GsWgan, GsWganConfig

EPSILON = 10.0
TABLE = ("10,20,300,0", "5,20,150,0", "10,20,300,0.1", "10,20,300,1", "100,5,100,0", "100,5,100,1")


class Scaled(NoiseSource):
    """Noise of the operating system's entropy times a factor."""

    factor = 1.0

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Return ``exact`` plus scaled noise."""
        return super().add_gaussian(exact, std * self.factor, charge, step) if self.factor else exact


def main(rows: list[str]) -> None:
    """Print one line for each row of settings."""
    splits, labels = load_splits(CARD), torch.arange(1000) % 10
    preset = tomllib.loads((Path(gs_wgan.__file__).parent / "presets.toml").read_text(encoding="utf-8"))["demo"]
    train, test = splits.train, splits.test
    means = torch.stack([train.images[train.labels == k].float().mean(0).flatten() for k in range(10)])
    for row in rows:
        parts, warm_up, steps, factor = row.split(",")
        changes = {"parts": int(parts), "warm_up_steps": int(warm_up), "steps": int(steps)}
        noise, began = Scaled.from_os(), time.process_time()
        noise.factor = float(factor)
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(Path(folder) / "state", "cpu", Seeds(0), Reporter())
            budget = Budget(epsilon=EPSILON, delta=CARD.delta)
            ledger = PrivacyLedger(LedgerFile(Path(folder) / "ledger.jsonl"), "train", budget, "experiment")
            method = GsWgan(GsWganConfig.from_plain({**preset, **changes}), CARD.task(), context)
            method.fit(PrivateDataset(train, CARD.task(), ledger, noise, context))
            sigma = ledger.charges[0].event.noise_multiplier
            images = method.generate(labels).flatten(1).float()
        nearest = float((torch.cdist(images, means).argmin(1) == labels).float().mean())
        judge = LogisticRegression(max_iter=300).fit(images.numpy() / 255, labels.numpy())
        accuracy = judge.score(test.images.flatten(1).numpy() / 255, test.labels.numpy())
        seconds = time.process_time() - began
        print(f"{row}: sigma {sigma:.3f}, nearest {nearest:.3f}, accuracy {accuracy:.3f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(TABLE))
