"""EDM: preconditioning and training loss.

Source:
    Karras, Aittala, Aila, Laine, NeurIPS 2022, table 1 and section 5; constants as in DPDM and DPImageBench.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIGMA_DATA = math.sqrt(1 / 3)
"""Standard deviation of pixels that are uniform in -1..1."""


@dataclass(frozen=True)
class Levels:
    """Training noise levels s: ln s is normal.

    Attributes:
        mean: of ln s.
        std: standard deviation of ln s.
    """

    mean: float = -1.2
    std: float = 1.2

    def at(self, quantiles: Tensor) -> Tensor:
        """Return the levels at quantiles float (N,) in 0..1 of their distribution, float32."""
        return (self.mean + self.std * torch.special.ndtri(quantiles.double())).exp().float()

    def drawn(self, n: int, device: torch.device | str) -> Tensor:
        """Return n levels from torch's global generator of a device, float32."""
        return (self.mean + self.std * torch.randn(n, device=device)).exp()


def scaled(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in -1..1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Return images in -1..1 as uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _factors(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    total = (sigma**2 + SIGMA_DATA**2).sqrt()
    return SIGMA_DATA**2 / total**2, sigma * SIGMA_DATA / total, 1 / total


def denoise(network: nn.Module, noisy: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
    """Return the network's estimate of the clean images.

    Args:
        network: maps c_in · noisy, c_noise and labels to (N, C, H, W).
        noisy: clean images in -1..1 plus N(0, sigma²), float (N, C, H, W).
        sigma: noise level of each, float (N,), > 0.
        labels: int64 (N,), K for "no class".
    """
    c_skip, c_out, c_in = (factor[:, None, None, None] for factor in _factors(sigma))
    return c_skip * noisy + c_out * network(c_in * noisy, sigma.log() / 4, labels)


def loss_rows(network: nn.Module, clean: Tensor, noise: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
    """Return the weighted squared error of the denoised images, mean over pixels, float (N,).

    The weight (s² + sd²)/(s·sd)² is 1/c_out², so the error is taken at the network's own output.

    Args:
        network: see ``denoise``.
        clean: images in -1..1, (N, C, H, W).
        noise: N(0, 1), of the same shape.
        sigma: noise levels (N,).
        labels: int64 (N,).
    """
    c_skip, c_out, c_in = (factor[:, None, None, None] for factor in _factors(sigma))
    noisy = clean + sigma[:, None, None, None] * noise
    target = (clean - c_skip * noisy) / c_out
    return (network(c_in * noisy, sigma.log() / 4, labels) - target).square().mean(dim=(1, 2, 3))
