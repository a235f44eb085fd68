"""Noisy class means: the trivial private baseline.

Idea: The mean image of a class already tells a classifier much. What does not beat it has learnt nothing more.

Paper: none.

Released: the sum of the pixels (in 0..1) of every class plus Gaussian noise, once, with the whole remaining budget.
Every record is clipped to L2 norm C = ``clipping_rms`` · √pixels and enters one row, so the L2 sensitivity under
add-or-remove-one is C. Everything after the release is post-processing.

Public: image shape, classes, and N₀ / K, which divides every sum as if classes were equally frequent.

Deviations: none; there is nothing published.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from dpib.api import MethodConfig, PrivateDataset, Synthesizer

_BATCH = 1000


class DpMeansConfig(MethodConfig):
    """Hyper-parameters."""

    clipping_rms: float = Field(
        default=0.5, gt=0, le=1, description="root mean square of a record's pixels, in 0..1, above which it is dimmed"
    )
    pixel_noise: float = Field(default=0.2, ge=0, description="standard deviation of public noise, pixels in 0..1")


class DpMeans(Synthesizer):
    """Returns the released mean of the class plus public noise."""

    Config = DpMeansConfig
    config: DpMeansConfig

    def fit(self, private: PrivateDataset) -> None:
        """Release the noisy sums and divide them by public constants."""
        total = self.context.once(
            "pixel sums",
            lambda: private.noisy_sum(
                lambda images, _: images.flatten(1).float() / 255,
                label="pixel sums",
                clipping_norm=self.config.clipping_rms * math.sqrt(math.prod(self.task.shape)),
                by_class=True,
            ),
        )
        means = total * self.task.n_classes / self.task.nominal_size
        self.means = means.clamp(0, 1).view(-1, *self.task.shape).cpu()

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        generator = self.context.seeds.torch("generate")
        return torch.cat([self._draw(part, generator) for part in labels.cpu().split(_BATCH)])

    def _draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(labels), *self.task.shape, generator=generator)
        images = (self.means[labels] + self.config.pixel_noise * noise).clamp(0, 1)
        return (images * 255).round().to(torch.uint8)
