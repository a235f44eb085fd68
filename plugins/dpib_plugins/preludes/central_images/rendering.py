"""From small noisy images to the images a network learns from: enlarged, smoothed, sharpened. Sees releases only."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

_SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])


def render(small: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return released images at full size.

    Bilinear enlargement, 8 bits, a 3x3 median filter, and for grey images a sharpening filter.

    Args:
        small: float (N, C, h, w) in 0..1.
        shape: (C, H, W).

    Returns:
        uint8 (N, C, H, W) on the CPU.
    """
    large = F.interpolate(small.cpu().float(), shape[1:], mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).numpy()
    images = ndimage.median_filter(images, size=(1, 1, 3, 3), mode="nearest")
    if shape[0] == 1:
        sharp = ndimage.correlate(images.astype(np.int32), _SHARPEN[None, None], mode="mirror")
        images = sharp.clip(0, 255).astype(np.uint8)
    return torch.from_numpy(images)
