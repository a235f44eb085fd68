"""From stored rows to tensors: encoded image bytes and integer labels, batch by batch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from dpib.data.images import LabelledImages
from dpib.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_MODES = {1: "L", 3: "RGB"}
_BATCH = 1000


def decode_rows(
    rows: Dataset, image_column: str, label_column: str, shape: tuple[int, int, int], what: str
) -> LabelledImages:
    """Decode every row, in order; memory beyond the result is one batch of encoded bytes.

    Args:
        rows: a table with embedded PNG or JPEG bytes.
        image_column: name of the column that is a ``datasets.Image``.
        label_column: name of the column of integers.
        shape: (channels, height, width) that every image must have; 1 channel is grey, 3 are RGB.
        what: what is being read, for messages.

    Returns:
        N rows: images uint8 (N, C, H, W), labels int64 (N,).

    Raises:
        DataError: if a cell is empty, an image cannot be decoded or has another mode or size.
    """
    channels, height, width = shape
    images = np.empty((len(rows), channels, height, width), dtype=np.uint8)
    labels = np.empty(len(rows), dtype=np.int64)
    row = 0
    for table in rows.select_columns([image_column, label_column]).with_format("arrow").iter(batch_size=_BATCH):
        cells = zip(table[image_column].to_pylist(), table[label_column].to_pylist(), strict=True)
        for image, label in cells:
            if image is None or image["bytes"] is None or label is None:
                raise DataError(f"{what}, row {row}: expected image bytes and a label, got an empty cell.")
            pixels = _decode(image["bytes"], _MODES[channels], (width, height), f"{what}, row {row}")
            images[row] = pixels.reshape(height, width, channels).transpose(2, 0, 1)
            labels[row] = label
            row += 1
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))


def _decode(encoded: bytes, mode: str, size: tuple[int, int], what: str) -> np.ndarray:
    """Return one image as uint8 (H, W) or (H, W, 3); mode and size are checked before pixels are decoded."""
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            if (image.mode, image.size) != (mode, size):
                raise DataError(
                    f"{what}: expected a {mode} image of {size[0]}x{size[1]} pixels, "
                    f"got {image.mode} of {image.size[0]}x{image.size[1]}."
                )
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{what}: the image cannot be decoded ({error}).") from error
