"""Noise levels, noise images and dropped labels of one step, each a function of the record that it belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dpib.api import RecordHash, RunContext
from dpib_plugins.diffusion.edm import Levels


class Drawn(NamedTuple):
    """What one row of a loss needs: noise (N, C, H, W), noise level (N,), labels (N,)."""

    noise: Tensor
    level: Tensor
    labels: Tensor


class NoisePool:
    """A pool of public noise images, from which a public hash of a record draws.

    Copy k of a record gets the noise (n_a + n_b)/√2 for two different images a ≠ b of the pool, so exactly N(0, I); the
    noise level at the quantile (k + u)/K, so that the copies of a record are spread over all levels; and loses its
    label with probability ``dropout``. Numbers a, b, u come from ``RecordHash``. Pool and hash are new in every step.

    Args:
        name: addresses the public randomness.
        context: its source, and the device.
        shape: of an image.
        size: M ≥ 2, images in the pool.
        copies: K, rows per record.
        dropout: probability of the null token ``null``.
        null: the label that stands for no class.
        noise_shape: of a noise image; by default that of an image.
        levels: maps quantiles float64 (N,) in 0..1 to noise levels (N,); by default those of EDM.
    """

    def __init__(
        self,
        name: str,
        context: RunContext,
        shape: tuple[int, int, int],
        *,
        size: int,
        copies: int,
        dropout: float,
        null: int,
        noise_shape: tuple[int, int, int] | None = None,
        levels: Callable[[Tensor], Tensor] = Levels().at,
    ) -> None:
        self._name, self._context, self._size = name, context, size
        self._copies, self._dropout, self._null = copies, dropout, null
        self._levels = levels
        self._images = torch.zeros(size, *(noise_shape or shape), device=context.device)
        self._hash = RecordHash(shape).to(context.device)
        self.refill(0)

    def refill(self, step: int) -> None:
        """Draw the pool and the hash of a step."""
        self._step, seeds = step, self._context.seeds
        generator = seeds.torch(f"{self._name} pool", step)
        self._images.copy_(torch.randn(self._images.shape, generator=generator))
        self._hash.renew(seeds.torch(f"{self._name} hash", step))

    def state_dict(self) -> dict[str, int]:
        """Return the step: all else follows from it and the run's seed."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Draw the pool of a step again."""
        self.refill(state["step"])

    def draw(self, images: Tensor, labels: Tensor) -> Drawn:
        """Return what the rows of records need: uint8 (B, C, H, W) and int64 (B,) to B·K rows, image-major."""
        numbers = self._hash.numbers(images, labels, self._copies, draws=4)
        first = numbers[:, 0] % self._size
        second = (first + 1 + numbers[:, 1] % (self._size - 1)) % self._size
        noise = (self._images[first] + self._images[second]) * math.sqrt(0.5)
        within, chance = RecordHash.as_uniform(numbers[:, 2:]).unbind(1)
        place = torch.arange(self._copies, device=images.device).repeat(len(images))
        kept = labels.repeat_interleave(self._copies)
        dropped = torch.where(chance < self._dropout, self._null, kept)
        return Drawn(noise, self._levels((place + within) / self._copies), dropped)
