"""Reads a submitted ``images.parquet``: its header first, then every image, checked before it is decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from dpib.errors import RecordError
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import check_png, printable

if TYPE_CHECKING:
    from dpib.data.images import LabelledImages

_BATCH = 256
_CODECS = {"UNCOMPRESSED", "SNAPPY", "ZSTD", "GZIP", "LZ4"}
_COLUMNS = {
    "image": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    "label": pyarrow.int64(),
}


def open_parquet(path: Path, count: int, shape: tuple[int, int, int]) -> pyarrow.parquet.ParquetFile:
    """Open a file whose header promises exactly the rows, columns and sizes of ``count`` images.

    Raises:
        RecordError: if it promises anything else; no column was read.
    """
    try:
        file = pyarrow.parquet.ParquetFile(
            path, thrift_string_size_limit=1 << 20, thrift_container_size_limit=1 << 17, page_checksum_verification=True
        )
        header, schema = file.metadata, file.schema_arrow
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise RecordError(f"{path.name}: the parquet header cannot be read: {printable(str(error), 200)}") from error
    columns = {field.name: field.type for field in schema}
    if columns != _COLUMNS or len(schema) != len(_COLUMNS):
        raise RecordError(f"{path.name}: expected the columns {_COLUMNS}, got {printable(str(columns), 200)}.")
    if header.num_rows != count or header.num_row_groups > limits.PARQUET_ROW_GROUPS:
        raise RecordError(f"{path.name}: {header.num_rows} rows in {header.num_row_groups} groups, expected {count}.")
    unpacked, rows = 0, 0
    for group in range(header.num_row_groups):
        rows += header.row_group(group).num_rows
        for column in range(header.num_columns):
            chunk = header.row_group(group).column(column)
            if chunk.compression not in _CODECS:
                raise RecordError(f"{path.name}: the compression {chunk.compression} is not accepted.")
            if min(chunk.total_uncompressed_size, chunk.total_compressed_size) < 0:
                raise RecordError(f"{path.name}: a column has a negative size.")
            unpacked += chunk.total_uncompressed_size
    if rows != count or unpacked > limits.images_bytes(count, shape):
        raise RecordError(f"{path.name}: {rows} rows unpack to {unpacked} bytes, too many for {count} images.")
    return file


def read_images(path: Path, count: int, shape: tuple[int, int, int]) -> LabelledImages:
    """Return the images of a submission, in order.

    Raises:
        RecordError: at the first cell that is not an image of this shape with a label.
    """
    channels, height, width = shape
    file = open_parquet(path, count, shape)
    images = np.empty((count, channels, height, width), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    most = channels * height * width + height + limits.PNG_OVERHEAD
    row = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH):
            for cell, label in zip(batch.column("image"), batch.column("label"), strict=True):
                if row >= count:
                    raise RecordError(f"{path.name}: more rows than its header says.")
                images[row] = _decode(cell, most, shape, row)
                labels[row] = _label(label, row)
                row += 1
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise RecordError(f"{path.name}: damaged at row {row}: {printable(str(error), 200)}") from error
    if row != count:
        raise RecordError(f"{path.name}: {row} rows, the header says {count}.")
    import torch  # not before: a file that is refused costs no import of it

    from dpib.data.images import LabelledImages

    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))


def _label(cell: pyarrow.Scalar, row: int) -> int:
    value = cell.as_py()
    if not isinstance(value, int) or not 0 <= value < 100_000:
        raise RecordError(f"row {row}: expected a label, got {printable(repr(value), 40)}.")
    return value


def _decode(cell: pyarrow.Scalar, most: int, shape: tuple[int, int, int], row: int) -> np.ndarray:
    channels, height, width = shape
    content = cell["bytes"].as_buffer() if cell.is_valid and cell["bytes"].is_valid else None
    if content is None or not content.size <= most:
        raise RecordError(f"row {row}: expected the bytes of one image, at most {most}.")
    encoded = content.to_pybytes()
    check_png(encoded, (width, height), channels, f"row {row}")
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def pixels_of(content: bytes) -> bytes:
    """Return the pixels of a PNG that was checked before."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        return image.tobytes()
