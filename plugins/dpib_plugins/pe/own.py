"""A denoiser that was pretrained on public images as an image generator (PE-SD of DPImageBench)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpib_plugins.diffusion.edm import scaled, to_uint8
from dpib_plugins.diffusion.samplers import SIGMA_MAX, Sampler
from dpib_plugins.pe.protocol import Denoiser, Samples


class OwnDiffusion:
    """Samples by the deterministic Euler method; a variation is noised to a level and denoised from there.

    What a public label shows says nothing about the private class of the same number. So every sample has a label drawn
    uniformly from the learnt ones, its code, and keeps it in variations: votes find out what suits a class.

    Args:
        denoiser: averaged weights.
        classes: the labels it has learnt, int64 (K',).
        shape: of an image.
        sampler: of a whole generation.
        batch_size: images at once.
        device: of the denoiser.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        classes: Tensor,
        shape: tuple[int, int, int],
        sampler: Sampler,
        batch_size: int,
        device: str,
    ) -> None:
        self._denoiser, self._classes, self._shape, self._sampler = denoiser, classes, shape, sampler
        self._batch_size, self._device = batch_size, device

    def random(self, labels: Tensor, generator: torch.Generator) -> Samples:
        """Return new samples, whatever the private labels (N,) are; see ``ImageApi``."""
        learnt = self._classes[torch.randint(len(self._classes), (len(labels),), generator=generator)]
        return self._samples([self._denoised(None, part, 0, generator) for part in self._parts(learnt)], learnt)

    def variation(
        self,
        samples: Samples,
        labels: Tensor,  # noqa: ARG002
        degree: float,
        generator: torch.Generator,
    ) -> Samples:
        """Return variations; see ``ImageApi``.

        The degree is a time of the cosine schedule; the noise is that of the first level not above that time's.
        """
        if degree == 0:
            return samples
        levels, most = self._sampler.levels(), cosine_level(degree)
        first = min(int((levels > most).sum()), len(levels) - 1)
        learnt = samples.codes[:, 0].long()
        parts = zip(self._parts(samples.images), self._parts(learnt), strict=True)
        return self._samples([self._denoised(images, part, first, generator) for images, part in parts], learnt)

    @torch.no_grad()
    def _denoised(self, images: Tensor | None, labels: Tensor, first: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn((len(labels), *self._shape), generator=generator)
        start = float(self._sampler.levels()[first]) * noise + (0 if images is None else scaled(images))
        labels = labels.to(self._device)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self._denoiser(noisy, sigma, labels)

        return to_uint8(self._sampler(denoise, start.to(self._device), generator, first)).cpu()

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split(self._batch_size)

    def _samples(self, parts: list[Tensor], learnt: Tensor) -> Samples:
        images = torch.cat([torch.zeros((0, *self._shape), dtype=torch.uint8), *parts])
        return Samples(images, learnt[:, None].float())


def cosine_level(time: float) -> float:
    """Return the noise level, noise over signal, of the cosine schedule at a time in 0..1; at most 80.

    Source:
        Nichol, Dhariwal (2021), equation 17.
    """
    angle = (time + 0.008) / 1.008 * math.pi / 2
    return min(math.tan(angle), SIGMA_MAX) if angle < math.pi / 2 else SIGMA_MAX
