"""Base sets and canaries of the games (privacy 8.1). All are public: the attacker knows everything but the coin."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dpib.data.images import LabelledImages
from dpib.testing.tiny import BASE_SIZES, SPARSE_SIZES, TASK, tiny_images

Base = Literal["empty-class", "twenty-per-class"]
Canary = Literal["checkerboard", "noise", "mislabelled", "duplicate"]

_SIZES = {"empty-class": BASE_SIZES, "twenty-per-class": SPARSE_SIZES}
LAST_CLASS = TASK.n_classes - 1
"""The class that is empty in the base set ``empty-class``."""


@cache
def base_set(name: Base) -> LabelledImages:
    """Return a fixed base set: uint8 (N, 1, 8, 8)."""
    return tiny_images(_SIZES[name])


def record(image: Tensor, label: int) -> LabelledImages:
    """Return one image (1, 8, 8) with its label as a set of one."""
    return LabelledImages(image.unsqueeze(0), torch.tensor([label]))


@cache
def canary(name: Canary) -> LabelledImages:
    """Return the one record that is in the data or not.

    ``checkerboard`` has the full range of pixels; ``noise`` is seeded and has 512 bits of entropy; ``mislabelled`` is
    the first record of the base set with the last class as label; ``duplicate`` is that record itself.
    """
    first = base_set("twenty-per-class")
    if name == "checkerboard":
        rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        return record(((rows + columns) % 2 * 255).to(torch.uint8).unsqueeze(0), LAST_CLASS)
    if name == "noise":
        return record(noise_images(1, seed=20_260_101)[0], LAST_CLASS)
    if name == "mislabelled":
        return record(first.images[0], LAST_CLASS)
    return record(first.images[0], int(first.labels[0]))


def noise_images(n: int, seed: int | None = None) -> Tensor:
    """Return images of independent uniform bytes, uint8 (n, 1, 8, 8); without a seed from fresh entropy."""
    entropy = os.urandom(32) if seed is None else hashlib.sha256(str(seed).encode()).digest()
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(entropy))))
    return torch.from_numpy(generator.integers(0, 256, (n, *TASK.shape), dtype=np.uint8))


def joined(*parts: LabelledImages) -> LabelledImages:
    """Return the records of all parts in order; what is added stands at the end, as record and replay needs."""
    return LabelledImages(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))
