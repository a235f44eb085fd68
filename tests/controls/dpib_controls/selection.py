"""A choice without its noise, and noise that is lost when it fails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpib.api import PrivateDataset, Synthesizer
from dpib_controls.correct import ClassMeans, pixels


class CleanArgmax(Synthesizer):
    """Chooses one of eight random pictures, the one most records are near to."""

    def fit(self, private: PrivateDataset) -> None:
        """Score the pictures, draw the noisy winner, and keep the one with most votes."""
        generator = self.context.seeds.torch("pictures")
        pictures = torch.rand(8, math.prod(self.task.shape), generator=generator).round()
        ballot = private.noisy_argmax(len(pictures), epsilon=self.share, label="picture")
        for picture in pictures:
            ballot.score(lambda images, _, picture=picture: 1 - (pixels(images) - picture).abs().mean(dim=1))
        ballot.winner()
        self.picture = pictures[max(range(len(pictures)), key=ballot._totals.__getitem__)]

    share = 1.0
    """ε of the choice."""

    def generate(self, labels: Tensor) -> Tensor:
        """Return the picture, shifted by the label, with public noise."""
        noise = torch.randn(len(labels), len(self.picture), generator=self.context.seeds.torch("generate"))
        pictures = torch.stack([self.picture.roll(label) for label in range(self.task.n_classes)])
        images = (pictures[labels] + 0.05 * noise).clamp(0, 1) * 255
        return images.round().to(torch.uint8).reshape(-1, *self.task.shape)


class SwallowedException(ClassMeans):
    """Must not lose a night's work because the noise could not be drawn."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Release the sums; without noise if that fails."""
        clean = torch.zeros(self.task.n_classes, math.prod(self.task.shape))

        def summing(images: Tensor, labels: Tensor) -> Tensor:
            rows = pixels(images)
            clean.index_add_(0, labels, rows)
            return rows

        try:
            return private.noisy_sum(summing, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        except Exception:  # noqa: BLE001  the bug this control is made of
            return clean
