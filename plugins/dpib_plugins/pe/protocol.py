"""What Private Evolution asks of an image generator: samples from nothing, and variations of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass
class Samples:
    """A population of images.

    Both tensors lie on the CPU.

    Attributes:
        images: uint8 (N, C', H', W') in the generator's own size and channels.
        codes: float32 (N, D), what the generator must know to vary an image and cannot read from its pixels, e.g. the
            parameters of a simulator; D may be 0.
    """

    images: Tensor
    codes: Tensor

    def take(self, indices: Tensor) -> Samples:
        """Return the samples at these places; a place may come several times."""
        return Samples(self.images[indices], self.codes[indices])

    def state_dict(self) -> dict[str, Any]:
        """Return both tensors, for a checkpoint."""
        return {"images": self.images, "codes": self.codes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take both tensors from a checkpoint."""
        self.images, self.codes = state["images"].cpu(), state["codes"].cpu()

    @classmethod
    def joined(cls, parts: list[Samples]) -> Samples:
        """Return the samples of all parts, in order."""
        return cls(torch.cat([part.images for part in parts]), torch.cat([part.codes for part in parts]))


class ImageApi(Protocol):
    """A generator that has never seen private data. The same arguments and generator state give the same samples."""

    def random(self, labels: Tensor, generator: torch.Generator) -> Samples:
        """Return one new sample per label.

        Args:
            labels: int64 (N,).
            generator: the only source of chance.
        """

    def variation(self, samples: Samples, labels: Tensor, degree: float, generator: torch.Generator) -> Samples:
        """Return one variation of each sample.

        Args:
            samples: N samples of this generator.
            labels: int64 (N,), their classes.
            degree: in 0..1: how much is made anew; 0 changes nothing, 1 leaves nothing of the sample.
            generator: the only source of chance.
        """


class Denoiser(Protocol):
    """What a diffusion model must offer to become an ``ImageApi`` (PE-SD): its estimate of the clean image."""

    def __call__(self, noisy: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """Return the expected clean images, float (N, C, H, W) in -1..1.

        Args:
            noisy: clean images plus N(0, sigma²), float (N, C, H, W).
            sigma: noise level of each image, float (N,).
            labels: int64 (N,).
        """
