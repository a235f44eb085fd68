"""A small folder of own images with tell-tale names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("benign", "malign", "unclear")


def write_images(folder: Path, sizes: Sequence[int], seed: int = 0, side: int = 8) -> Path:
    """Write random images with names like ``kowalczyk-0-17.png``, one folder per class of ``CLASSES``."""
    random = np.random.default_rng(seed)
    for label, size in enumerate(sizes):
        for n in range(size):
            path = folder / CLASSES[label] / f"kowalczyk-{label}-{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (side, side), dtype=np.uint8)).save(path)
    return folder
