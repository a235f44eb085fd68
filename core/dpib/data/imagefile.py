"""Synthetic sets as files: parquet in the Hub's layout, and a sample grid for the eye."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dpib.data.decode import Decoding, decode_rows
from dpib.data.images import LabelledImages
from dpib.data.sources import no_progress_bars
from dpib.errors import DataError
from dpib.files import write_atomically


def to_pil(image: Tensor) -> Image.Image:
    """Return one uint8 (C, H, W) image, grey or RGB, as a PIL image."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _png(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    return buffer.getvalue()


def save_parquet(path: Path, data: LabelledImages, classes: tuple[str, ...]) -> None:
    """Write labelled images as ``datasets`` does: PNG bytes and a ClassLabel column."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    table = Dataset.from_dict(
        {
            "image": [{"bytes": _png(image), "path": f"{n:06d}.png"} for n, image in enumerate(data.images)],
            "label": data.labels.tolist(),
        },
        features=Features({"image": ImageFeature(), "label": ClassLabel(names=list(classes))}),
    )
    with no_progress_bars():
        write_atomically(path, lambda file: table.to_parquet(file))


def load_parquet(path: Path, shape: tuple[int, int, int], n_classes: int) -> LabelledImages:
    """Read labelled images that ``save_parquet`` or ``datasets`` wrote.

    Raises:
        DataError: if the file is missing, not parquet, or does not hold images of this shape and these labels.
    """
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset
    from datasets.table import InMemoryTable

    try:
        table = Dataset(InMemoryTable(pyarrow.parquet.read_table(path)))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Cannot read {path} as parquet: {error}") from error
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise DataError(f"{path}: expected the columns image and label, {', '.join(sorted(missing))} missing.")
    data = decode_rows(table, Decoding("image", "label", shape, str(path)))
    data.check_against(shape, n_classes, str(path))
    return data


def save_grid(path: Path, data: LabelledImages, n_classes: int, columns: int = 10, max_rows: int = 10) -> None:
    """Write a PNG with one row of images per class, for the first classes, enlarged to be seen."""
    _, channels, height, width = data.images.shape
    rows = min(n_classes, max_rows)
    scale = max(1, 40 // height)
    sheet = np.full((rows * (height * scale + 2), columns * (width * scale + 2), channels), 255, np.uint8)
    for row in range(rows):
        for column, index in enumerate(torch.nonzero(data.labels == row)[:columns, 0].tolist()):
            tile = data.images[index].permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
            y, x = row * (height * scale + 2), column * (width * scale + 2)
            sheet[y : y + height * scale, x : x + width * scale] = tile
    image = to_pil(torch.from_numpy(sheet).permute(2, 0, 1))
    write_atomically(path, lambda file: image.save(file, format="PNG"))


def save_png_folders(path: Path, data: LabelledImages, classes: tuple[str, ...]) -> None:
    """Write labelled images as one folder of numbered PNG files per class, as ``read_images`` reads them."""
    counts = [0] * len(classes)
    for name in classes:
        (path / name).mkdir(parents=True, exist_ok=True)
    for image, label in zip(data.images, data.labels.tolist(), strict=True):
        (path / classes[label] / f"{counts[label]:06d}.png").write_bytes(_png(image))
        counts[label] += 1
