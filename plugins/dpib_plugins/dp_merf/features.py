"""Random Fourier features of a Gaussian kernel, with norm exactly 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FourierFeatures:
    """The map φ(x) = sqrt(2/D) [cos(Wx), sin(Wx)], whose inner products estimate exp(-|x - y|² / 2s).

    cos² + sin² = 1 for each of the D/2 frequencies, so that every |φ(x)| = 1: a record's contribution to a sum of
    features is bounded by construction, without clipping.

    Args:
        n_pixels: length P of a flattened image.
        n_features: D, even.
        squared_length_scale: s, in squared pixel values of 0..1.
        generator: public randomness for W.
        device: where features are computed.

    Source:
        Rahimi, Recht (2007); Harder et al. (2021), section 3.
    """

    def __init__(
        self, n_pixels: int, n_features: int, squared_length_scale: float, generator: torch.Generator, device: str
    ) -> None:
        frequencies = torch.randn(n_pixels, n_features // 2, generator=generator)
        self._frequencies = (frequencies / math.sqrt(squared_length_scale)).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Map float images (B, C, H, W) in 0..1 to float32 features (B, D)."""
        angles = images.flatten(1) @ self._frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(angles.shape[1])

    def of_bytes(self, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  the form of a statistic
        """Map uint8 images (B, C, H, W) to features (B, D), row by row."""
        return self(images.float() / 255)

    def sums(self, images: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        """Return (K, D): row k is the sum of the features of float images with label k."""
        features = self(images)
        return features.new_zeros(n_classes, features.shape[1]).index_add(0, labels, features)
