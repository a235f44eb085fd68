"""From stored rows to tensors: encoded image bytes and labels, batch by batch."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from dpib.data.images import LabelledImages
from dpib.data.pixels import bits_per_channel
from dpib.data.steps import apply_steps
from dpib.dataset_spec import Step
from dpib.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_MODES = {1: "L", 3: "RGB"}
_THREADS = 8
_Cell = tuple[int, dict[str, bytes] | None, int | None]
BATCH = 1000
"""Rows decoded at a time."""


@dataclass(frozen=True)
class Decoding:
    """How rows become images.

    Attributes:
        image_column: a ``datasets.Image`` column with embedded PNG or JPEG bytes.
        label_column: a column of integers, or of true and false.
        shape: (channels, height, width) of every result; 1 channel is grey, 3 are RGB.
        what: what is being read, for messages.
        steps: what is done to each image; without steps it must have the shape.
    """

    image_column: str
    label_column: str
    shape: tuple[int, int, int]
    what: str
    steps: tuple[Step, ...] = ()


def decode_rows(rows: Dataset, how: Decoding) -> LabelledImages:
    """Decode every row, in order; memory beyond the result is one batch.

    Returns:
        N rows: images uint8 (N, C, H, W), labels int64 (N,).

    Raises:
        DataError: if a cell is empty, an image cannot be decoded or has another mode or size.
    """
    images = np.empty((len(rows), *how.shape), dtype=np.uint8)
    labels = np.empty(len(rows), dtype=np.int64)
    decode_into(rows, how, images, labels, np.arange(len(rows)))
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))


def decode_into(
    rows: Dataset,
    how: Decoding,
    images: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray,
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Decode rows into arrays that exist, which may lie in files.

    Args:
        rows: the table.
        how: columns, shape and steps.
        images: uint8 (N, C, H, W), written.
        labels: int64 (N,), written.
        places: int64 (N,); row n goes to position ``places[n]``.
        start: first row to decode.
        progress: told after every batch how many rows are done.

    Raises:
        DataError: as ``decode_rows``.
    """
    channels, height, width = how.shape
    threads = min(_THREADS, len(os.sched_getaffinity(0))) if how.steps else 1
    row = start

    def decode(cell: _Cell) -> tuple[np.ndarray, int]:
        return _decode(*cell, how)

    with ThreadPoolExecutor(threads) as pool:
        for batch in _batches(rows, how, start):
            cells = ((row + n, image, label) for n, (image, label) in enumerate(batch))
            for pixels, label in pool.map(decode, list(cells)) if threads > 1 else map(decode, list(cells)):
                images[places[row]] = pixels.reshape(height, width, channels).transpose(2, 0, 1)
                labels[places[row]] = label
                row += 1
            if progress:
                progress(row)


def _batches(
    rows: Dataset, how: Decoding, start: int
) -> Iterator[Iterator[tuple[dict[str, bytes] | None, int | None]]]:
    table = rows.select_columns([how.image_column, how.label_column])
    if start:
        table = table.select(range(start, len(rows)))
    for batch in table.with_format("arrow").iter(batch_size=BATCH):
        yield zip(batch[how.image_column].to_pylist(), batch[how.label_column].to_pylist(), strict=True)


def _decode(row: int, image: dict[str, bytes] | None, label: int | None, how: Decoding) -> tuple[np.ndarray, int]:
    what = f"{how.what}, row {row}"
    if image is None or image["bytes"] is None or label is None:
        raise DataError(f"{what}: expected image bytes and a label, got an empty cell.")
    return _pixels(image["bytes"], what, how), int(label)


def _pixels(encoded: bytes, what: str, how: Decoding) -> np.ndarray:
    """Return one image as uint8 (H, W) or (H, W, 3); mode and size are checked before pixels are decoded."""
    channels, height, width = how.shape
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as opened:
            bits = bits_per_channel(opened)
            if bits > 8:
                raise DataError(f"{what}: expected 8 bits a channel, got {bits}. Convert it first.")
            image = apply_steps(opened, how.steps, (width, height)) if how.steps else opened
            if (image.mode, image.size) != (_MODES[channels], (width, height)):
                raise DataError(
                    f"{what}: expected a {_MODES[channels]} image of {width}x{height} pixels, "
                    f"got {image.mode} of {image.size[0]}x{image.size[1]}."
                )
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{what}: the image cannot be decoded ({error}).") from error
