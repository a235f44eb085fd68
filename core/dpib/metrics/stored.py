"""Tables of numbers on disk that are used only if every byte is what was written.

A file is a ``.npy`` of float32 rows with the SHA-256 of its numbers appended. What is computed from real images is as
sensitive as they are: files are readable by their owner alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpib.errors import StorageError

Rows = NDArray[np.float32]
"""float32 (N, D), memory-mapped and read-only."""

DIGEST_BYTES = 32


def read_rows(path: Path, shape: tuple[int, int]) -> Rows | None:
    """Return the stored rows, or None unless header, size and digest are exactly right."""
    header = _header(shape)
    size = len(header) + 4 * shape[0] * shape[1] + DIGEST_BYTES
    if not path.is_file() or path.stat().st_size != size:
        return None
    with path.open("rb") as file:
        start = file.read(len(header))
        file.seek(-DIGEST_BYTES, os.SEEK_END)
        digest = file.read()
    rows = np.memmap(path, dtype="<f4", mode="r", offset=len(header), shape=shape)
    return rows if start == header and hashlib.sha256(rows.data).digest() == digest else None


def write_rows(path: Path, shape: tuple[int, int], chunks: Iterable[NDArray[np.float32]]) -> Rows:
    """Write rows chunk by chunk, atomically, and return them mapped.

    Args:
        path: the file; its folder is created if missing.
        shape: (N, D) of all chunks together.
        chunks: float32 (n, D) each.

    Raises:
        StorageError: if the file cannot be written.
    """
    header = _header(shape)
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header)
                for chunk in chunks:
                    content = chunk.astype("<f4").tobytes()
                    digest.update(content)
                    file.write(content)
                file.write(digest.digest())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return np.memmap(path, dtype="<f4", mode="r", offset=len(header), shape=shape)
    except OSError as error:
        raise StorageError(f"Cannot store {path}: {error.strerror}.") from error


def _header(shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()
