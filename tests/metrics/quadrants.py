"""A separable toy task: the label is the quadrant that is bright."""

from __future__ import annotations

import torch

from dpib.data.images import LabelledImages

N_CLASSES = 4


def quadrant_images(n: int, seed: int, contrast: int = 120) -> LabelledImages:
    """Noise in 8x8 pixels with one brighter quadrant."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256 - contrast, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[:, row : row + 4, column : column + 4] += contrast
    return LabelledImages(images, labels)
