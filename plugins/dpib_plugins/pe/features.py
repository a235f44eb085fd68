"""Where images are compared: a feature space, and a grid on which distances are exact."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpib.api import build_extractor

PIXELS = "pixels"

_BATCH = 250
_GRID = 2.0**16
_SMALL = 16


def feature_map(name: str, input_size: int, device: str) -> Callable[[Tensor], Tensor]:
    """Return a map from uint8 (N, C, H, W) to grid features float64 (N, D) on the device, a batch at a time.

    Features are rounded to multiples of 2⁻¹⁶ and given as whole numbers, so that float64 sums of their products are
    exact: whom a record votes for cannot depend on which records are computed beside it.

    Args:
        name: ``"pixels"``, or an extractor of dpib.
        input_size: side in pixels that an extractor resizes images to; of no use to ``"pixels"``.
        device: where to compute.
    """
    embed = blurred_pixels if name == PIXELS else build_extractor(name, input_size, device)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        parts = [embed(part.to(device)).to(device).double() for part in images.split(_BATCH)]
        return torch.cat(parts)

    return features


def on_grid(features: Tensor) -> Tensor:
    """Return features, or means of them, as whole numbers of 2⁻¹⁶."""
    return (features * _GRID).round()


def blurred_pixels(images: Tensor) -> Tensor:
    """Return pixels (N, D) after a 3 x 3 binomial blur, with norm 1: angles between images, small shifts forgiven.

    Images above 16 pixels are halved. Whole numbers up to the norm: a row does not depend on its batch.
    """
    step = 2 if images.shape[-1] > _SMALL else 1
    padded = torch.nn.functional.pad(images.double(), (1, 1, 1, 1))
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    blurred = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
    rows = blurred[:, :, ::step, ::step].flatten(1)
    return rows / rows.square().sum(1, keepdim=True).sqrt().clamp(min=1)
