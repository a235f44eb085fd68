"""How much of what a method loses is the noise's doing: one training with the charged noise scaled by a factor.

    python -m bench.noise gs-wgan --set parts=10 --factor 0.1
    python -m bench.noise dp-gan --dataset mnist --track lite --images 4000 --factor 0
    python -m bench.noise dp-ldm-sd --dataset mnist --track lite --public omniglot-28 --factor 0

A factor below 1 protects nobody: for research data only. Clipping, sampling and the number of updates stay. Prints the
noise multiplier of the charge, the share of generated images that are nearest to the mean of their real class, and the
test accuracy of two small judges that learn from the generated images: a logistic regression and a CNN of two layers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from dpib import job
from dpib.config import parse_override
from dpib.context import RunContext
from dpib.data.images import LabelledImages
from dpib.data.load import load_public, load_splits
from dpib.data.public import fit_to_task
from dpib.files import DEFAULT_RUNS
from dpib.generation import make_images
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds


class Scaled(NoiseSource):
    """Noise of the operating system's entropy times a factor."""

    factor = 1.0

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Return ``exact`` plus scaled noise."""
        return super().add_gaussian(exact, std * self.factor, charge, step) if self.factor else exact


def cnn_accuracy(images: LabelledImages, test: LabelledImages, n_classes: int) -> float:
    """Return the test accuracy of a CNN of two layers after eight epochs on images, no epoch chosen."""
    torch.manual_seed(0)
    convolutions = nn.LazyConv2d(16, 3, 2, 1), nn.ReLU(), nn.LazyConv2d(32, 3, 2, 1), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*convolutions, nn.LazyLinear(64), nn.ReLU(), nn.LazyLinear(n_classes))
    net(test.images[:1].float())
    adam = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(8):
        for chosen in torch.randperm(len(images)).split(64):
            loss = nn.functional.cross_entropy(net(images.images[chosen].float() / 127.5 - 1), images.labels[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.no_grad():
        guesses = net(test.images.float() / 127.5 - 1).argmax(1)
    return float((guesses == test.labels).float().mean())


def main() -> None:
    """Train once and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--track", default="demo")
    parser.add_argument("--epsilon", type=float, default=10.0)
    parser.add_argument("--public", default="none", help="as for dpib run; its pretraining is kept in runs/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for dpib run; repeatable")
    parser.add_argument("--factor", type=float, default=1.0, help="of the noise; 0 is none")
    parser.add_argument("--images", type=int, default=1_000, help="to generate")
    asked = parser.parse_args()

    overrides = dict(parse_override(text) for text in asked.set)
    spec = job.make_spec(
        asked.method, asked.dataset, asked.epsilon, asked.track, public=asked.public, overrides=overrides
    )
    one = job.prepare(spec)
    splits, task = load_splits(one.dataset), one.dataset.task()
    public = None
    if one.public:
        public = fit_to_task(load_public(one.public), task, conditional=spec.pretrain == "conditional")
    noise, began = Scaled.from_os(), time.process_time()
    noise.factor = asked.factor
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(Path(folder) / "state", "cpu", Seeds(0), Reporter())
        budget = Budget(epsilon=asked.epsilon, delta=one.dataset.delta)
        ledger = PrivacyLedger(LedgerFile(Path(folder) / "ledger.jsonl"), "train", budget, "experiment")
        private = PrivateDataset(splits.train, task, ledger, noise, context)
        images = make_images(one, task, private, public, asked.images, DEFAULT_RUNS / ".cache", context)
    seconds = time.process_time() - began
    means = [splits.train.images[splits.train.labels == k].float().mean(0).flatten() for k in range(task.n_classes)]
    flat = images.images.flatten(1).float()
    nearest = float((torch.cdist(flat, torch.stack(means)).argmin(1) == images.labels).float().mean())
    regression = LogisticRegression(max_iter=300).fit(flat.numpy() / 255, images.labels.numpy())
    linear = regression.score(splits.test.images.flatten(1).numpy() / 255, splits.test.labels.numpy())
    cnn = cnn_accuracy(images, splits.test, task.n_classes)
    sigma = ", ".join(f"{charge.event.noise_multiplier:.3f}" for charge in ledger.charges)
    print(f"sigma {sigma}: nearest {nearest:.3f}, logistic {linear:.3f}, CNN {cnn:.3f}, {seconds:.0f} s of CPU time")


if __name__ == "__main__":
    main()
