"""What a record adds to a noisy sum, and how a central image is read from that sum: mean and mode."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_MIDDLE = 0.5


class Centre(Protocol):
    """A statistic of one record with norm at most ``norm``, and its inverse."""

    @property
    def norm(self) -> float:
        """R: the largest L2 norm of a row, which some record has."""

    def rows(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map uint8 (B, C, H, W) to float rows (B, D), row by row."""

    def read(self, sums: Tensor, nominal: float) -> Tensor:
        """Map noisy sums (..., D) over nominally ``nominal`` records to small images (..., C, h, w) in 0..1."""


class _Small:
    """Images of which every ``factor``-th pixel is kept."""

    def __init__(self, shape: tuple[int, int, int], factor: int) -> None:
        self.factor = factor
        channels, height, width = shape
        self.shape = (channels, -(-height // factor), -(-width // factor))

    def of(self, images: Tensor) -> Tensor:
        """Return uint8 (B, d)."""
        return images[..., :: self.factor, :: self.factor].flatten(1)

    @property
    def size(self) -> int:
        """Number d of values."""
        return math.prod(self.shape)


class Mean:
    """x - 1/2 of every kept value x in 0..1: its norm is at most √d / 2.

    Args:
        shape: (C, H, W) of the images.
        factor: every ``factor``-th pixel is kept, in both directions.
    """

    def __init__(self, shape: tuple[int, int, int], factor: int) -> None:
        self._small = _Small(shape, factor)

    @property
    def norm(self) -> float:
        """√d / 2, that of an image of black and white alone."""
        return math.sqrt(self._small.size) / 2

    def rows(self, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  the form of a statistic
        """Map uint8 (B, C, H, W) to float32 (B, d) in -1/2..1/2."""
        return self._small.of(images).float() / 255 - _MIDDLE

    def read(self, sums: Tensor, nominal: float) -> Tensor:
        """Divide by the constant; fewer records than nominal give less contrast, never another noise."""
        return (_MIDDLE + sums / nominal).clamp(0, 1).unflatten(-1, self._small.shape)


class Mode:
    """A one for the bin of every kept value: d ones, whose norm is √d.

    Args:
        shape: (C, H, W) of the images.
        factor: every ``factor``-th pixel is kept, in both directions.
        bins: equal bins of the 256 levels.
    """

    def __init__(self, shape: tuple[int, int, int], factor: int, bins: int) -> None:
        self._small, self._bins = _Small(shape, factor), bins

    @property
    def norm(self) -> float:
        """√d, that of every image."""
        return math.sqrt(self._small.size)

    def rows(self, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  the form of a statistic
        """Map uint8 (B, C, H, W) to float32 (B, d · bins) of zeros and d ones."""
        bins = self._small.of(images).long() * self._bins // 256
        return F.one_hot(bins, self._bins).flatten(1).float()

    def read(self, sums: Tensor, nominal: float) -> Tensor:  # noqa: ARG002  the fullest bin needs no divisor
        """Return the middle of the fullest bin of every pixel."""
        fullest = sums.unflatten(-1, (self._small.size, self._bins)).argmax(-1)
        return ((fullest + 0.5) / self._bins).to(torch.float32).unflatten(-1, self._small.shape)
