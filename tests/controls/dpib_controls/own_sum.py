"""Methods that release through the harness's noise, and something more than that."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpib.api import PrivateDataset
from dpib_controls.correct import ClassMeans, GaussianMean, pixels


class Unclipped(ClassMeans):
    """Sums by itself, on the grounds that an image in 0..1 has at most the norm of a white one."""

    @property
    def clipping_norm(self) -> float:
        """The norm of a white image whose pixels are in 0..1."""
        return math.sqrt(math.prod(self.task.shape))

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Sum pixels, which are in 0..255, add noise for pixels in 0..1, and scale at the end."""
        plan = private.plan_noisy_sums(1, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        data, charge = private._data, plan._charge
        rows = data.images.flatten(1).double()
        total = torch.zeros(self.task.n_classes, rows.shape[1], dtype=rows.dtype).index_add(0, data.labels, rows)
        (noisy,) = private._noise.add_gaussian([total], plan.noise_multiplier * self.clipping_norm, charge.id, 0)
        private._ledger.done(charge, 1)
        return noisy.float() / 255


class ExactLabelCounts(GaussianMean):
    """Weighs every class by how often it really occurs; a class that does not occur stays black."""

    def fit(self, private: PrivateDataset) -> None:
        """Count labels on the way."""
        counts = torch.zeros(self.task.n_classes, dtype=torch.int64)

        def counting(images: Tensor, labels: Tensor) -> Tensor:
            nonlocal counts
            counts = counts + torch.bincount(labels, minlength=len(counts))
            return pixels(images)

        plan = private.plan_noisy_sums(1, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        sums = plan.release(counting, index=0)
        counts[0] -= 1  # the statistic is tried on a blank image of class 0
        means = sums / counts[:, None].clamp(min=1)
        self.means = torch.where(counts[:, None] > 0, means, 0.0).clamp(0, 1)


class ActualCountMean(ClassMeans):
    """Releases a mean: the sum over the number of records, with the noise of 1/N₀."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Divide inside the mechanism."""
        n = self.task.nominal_size

        def share(images: Tensor, labels: Tensor) -> Tensor:
            rows = 2 * pixels(images) - 1
            rows = rows * (self.clipping_norm / rows.norm(dim=1, keepdim=True).clamp(min=self.clipping_norm))
            return rows / len(images)

        mean = private.noisy_sum(share, label="means", clipping_norm=self.clipping_norm / n, by_class=True)
        return (mean * n + n / self.task.n_classes) / 2


class Memoriser(GaussianMean):
    """Remembers images to show beside the synthetic ones, and mixes them in."""

    def fit(self, private: PrivateDataset) -> None:
        """Release the sums and keep the first five images seen."""
        self.examples = torch.zeros(0, *self.task.shape, dtype=torch.uint8)

        def watching(images: Tensor, labels: Tensor) -> Tensor:
            self.examples = images[:5]
            return pixels(images)

        sums = private.noisy_sum(watching, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        self.means = (sums * self.task.n_classes / self.task.nominal_size).clamp(0, 1)

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label; the first ones are the examples."""
        images = super().generate(labels)
        images[: len(self.examples)] = self.examples[: len(images)]
        return images
