"""The three controls that must pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dpib.api import DpSgdPlan, MethodConfig, PrivateDataset, Synthesizer


def pixels(images: Tensor) -> Tensor:
    """Map uint8 images (B, C, H, W) to float rows (B, P) in 0..1."""
    return images.flatten(1).float() / 255


class ClassMeans(Synthesizer):
    """Turns a noisy sum per class into a mean image, and returns it with public pixel noise."""

    def fit(self, private: PrivateDataset) -> None:
        """Keep what ``class_sums`` releases, divided by public constants."""
        sums = self.context.once("class sums", lambda: self.class_sums(private))
        self.means = (sums * self.task.n_classes / self.task.nominal_size).clamp(0, 1)

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Return the noisy sum of pixels of every class, (classes, P)."""
        raise NotImplementedError

    @property
    def clipping_norm(self) -> float:
        """Half the norm of a white image."""
        return 0.5 * math.sqrt(math.prod(self.task.shape))

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        noise = torch.randn(len(labels), self.means.shape[1], generator=self.context.seeds.torch("generate"))
        images = (self.means[labels] + 0.05 * noise).clamp(0, 1) * 255
        return images.round().to(torch.uint8).reshape(-1, *self.task.shape)


class GaussianMean(ClassMeans):
    """One noisy sum, by the book."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Release the sums with the whole budget."""
        return private.noisy_sum(
            lambda images, _: pixels(images), label="sums", clipping_norm=self.clipping_norm, by_class=True
        )


class DoubleNoise(ClassMeans):
    """Pays for twice the norm that its rows have: the noise is twice what it had to be."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        """Release sums of rows of half the norm and double them."""

        def half(images: Tensor, labels: Tensor) -> Tensor:
            rows = pixels(images)
            factors = (self.clipping_norm / rows.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1)
            return rows * factors / 2

        return 2 * private.noisy_sum(half, label="sums", clipping_norm=self.clipping_norm, by_class=True)


class DpSgdTinyConfig(MethodConfig):
    """Hyper-parameters."""

    steps: int = 10
    sample_rate: float = 0.2
    learning_rate: float = 1.0
    noise_multiplier: float | None = None


class DpSgdTiny(Synthesizer):
    """A template per class: a linear map from the label to pixels, trained by DP-SGD."""

    Config = DpSgdTinyConfig
    config: DpSgdTinyConfig

    def fit(self, private: PrivateDataset) -> None:
        """Train the templates with the whole budget."""
        model = nn.Linear(self.task.n_classes, math.prod(self.task.shape), bias=False)
        nn.init.zeros_(model.weight)

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            drawn = model(nn.functional.one_hot(labels, self.task.n_classes).float())
            return (drawn - self.goals(images)).square().sum(dim=1) / 2

        plan = DpSgdPlan(
            steps=self.config.steps,
            sample_rate=self.config.sample_rate,
            clipping_norm=1.0,
            noise_multiplier=self.config.noise_multiplier,
        )
        optimizer = torch.optim.SGD(model.parameters(), self.config.learning_rate)
        private.train(model, loss, plan, label="templates", optimizer=optimizer, physical_batch_size=256)
        self.templates = model.weight.detach().T.clamp(0, 1)

    def goals(self, images: Tensor) -> Tensor:
        """Return what the template shall be near to, (B, P), for every image."""
        return pixels(images)

    def generate(self, labels: Tensor) -> Tensor:
        """Return the template of each label."""
        return (self.templates[labels] * 255).round().to(torch.uint8).reshape(-1, *self.task.shape)
