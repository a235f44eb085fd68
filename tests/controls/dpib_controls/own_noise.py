"""Methods that bring their own noise or sampler through ``declared``. All are wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from dpib.api import PrivateDataset, SampledGaussian
from dpib.data.images import LabelledImages
from dpib.privacy.accountants import calibrate
from dpib.privacy.rows import clip_rows
from dpib_controls.correct import ClassMeans, pixels


class OwnMechanism(ClassMeans):
    """Declares a Gaussian mechanism at the whole budget and runs it itself."""

    sample_rate = 1.0
    steps = 1

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Charge, then release."""
        budget = private._ledger.budget
        assert budget.epsilon is not None
        event = SampledGaussian(noise_multiplier=1.0, sample_rate=self.sample_rate, steps=self.steps)
        event = event.with_noise(calibrate([], event, budget.epsilon, budget.delta))
        with private.declared(event, label="sums", reason="noise on the GPU", source="Dwork, Roth (2014)") as data:
            return self.release(data, event.noise_multiplier * self.clipping_norm).float()

    def release(self, data: LabelledImages, std: float) -> Tensor:
        """Return what is released."""
        raise NotImplementedError

    def exact(self, data: LabelledImages) -> Tensor:
        """Return the sum of clipped rows by class, (classes, P)."""
        rows = clip_rows(pixels(data.images), self.clipping_norm)
        return torch.zeros(self.task.n_classes, rows.shape[1], dtype=rows.dtype).index_add(0, data.labels, rows)


def fresh() -> torch.Generator:
    """Return a generator with entropy of the operating system."""
    generator = torch.Generator()
    generator.seed()
    return generator


class NoNoise(OwnMechanism):
    """Loses its noise."""

    def release(self, data: LabelledImages, std: float) -> Tensor:
        """Add noise, not in place."""
        total = self.exact(data)
        total.add(torch.randn(total.shape, generator=fresh()), alpha=std)
        return total


class HalfNoise(OwnMechanism):
    """Averages four releases to get rid of outliers."""

    def release(self, data: LabelledImages, std: float) -> Tensor:
        """Return the mean of four noisy copies."""
        total, generator = self.exact(data), fresh()
        copies = [total + std * torch.randn(total.shape, generator=generator) for _ in range(4)]
        return torch.stack(copies).mean(dim=0)


class FixedSeed(OwnMechanism):
    """Wants reproducible experiments."""

    def release(self, data: LabelledImages, std: float) -> Tensor:
        """Add noise of the run's seed."""
        total = self.exact(data)
        return total + std * torch.randn(total.shape, generator=self.context.seeds.torch("privacy noise"))


class ShuffleAsPoisson(OwnMechanism):
    """Goes through the data in shuffled batches, as every trainer does."""

    sample_rate = 0.2
    steps = 10

    def release(self, data: LabelledImages, std: float) -> Tensor:
        """Return the mean of the noisy batch sums, scaled up to all data."""
        generator, total = fresh(), torch.zeros(())
        per_epoch = round(1 / self.sample_rate)
        for step in range(self.steps):
            if step % per_epoch == 0:
                order = torch.randperm(len(data), generator=generator).tensor_split(per_epoch)
            part = self.exact(data[order[step % per_epoch]])
            total = total + part + std * torch.randn(part.shape, generator=generator)
        return total / (self.steps * self.sample_rate)
