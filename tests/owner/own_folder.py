"""A small folder of own images with tell-tale names."""

from __future__ import annotations

import struct
import zlib
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


def deep_png(colour_type: int, value: int) -> bytes:
    """Return a PNG of 8x8 pixels with 16 bits a channel, all of one value; 2 is RGB, 4 grey with alpha, 6 RGBA."""
    samples = {2: [value] * 3, 4: [value, 65535], 6: [value] * 3 + [65535]}[colour_type]
    rows = (b"\0" + struct.pack(f">{len(samples)}H", *samples) * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
