"""Searches everything a run wrote for traces of its input."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from dpib.data.own import read_own
from dpib.data.pixels import Preprocessing

_TEXT = {".json", ".jsonl", ".md", ".txt", ".csv", ""}
_RUN = 16
"""Bytes of consecutive pixels that count as a block: by chance never equal in random images."""


def needles(folder: Path, classes: Sequence[str], how: Preprocessing) -> dict[str, bytes]:
    """Return what must be nowhere: file names, digests of files, images and of the whole, blocks of pixels."""
    found: dict[str, bytes] = {}
    data = read_own(folder, tuple(classes), how)
    blobs = {f"file {path.name}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    images = data.images.numpy()
    for row, image in enumerate(images):
        blobs[f"image {row}"] = image.tobytes()
        for name, values in (("uint8", image), ("float32", image.astype("<f4") / np.float32(255))):
            block = values.ravel()[:_RUN]
            found[f"{name} pixels of image {row}"] = block.tobytes()
    blobs["all images"] = images.tobytes()
    blobs["all labels"] = data.labels.numpy().tobytes()
    for name, blob in blobs.items():
        for algorithm in ("sha256", "md5", "sha1"):
            digest = hashlib.new(algorithm, blob)
            found[f"{algorithm} of {name}"] = digest.hexdigest().encode()
            found[f"raw {algorithm} of {name}"] = digest.digest()
    found["fingerprint"] = data.fingerprint.encode()
    for path in folder.rglob("*"):
        if path.is_file():
            found[f"name {path.name}"] = path.stem.encode()
    found["folder"] = str(folder).encode()
    return found


def _decoded(name: str, content: bytes) -> Iterable[bytes]:
    """Yield a file's bytes, and the pixels of the images in it."""
    yield content
    if name.endswith(".png"):
        yield np.asarray(Image.open(io.BytesIO(content))).tobytes()
    if name.endswith(".parquet"):
        for cell in pyarrow.parquet.read_table(pyarrow.BufferReader(content))["image"].to_pylist():
            yield np.asarray(Image.open(io.BytesIO(cell["bytes"]))).tobytes()


def traces(written: dict[str, bytes], secrets: dict[str, bytes], counts: Sequence[int]) -> list[str]:
    """Return what was found where.

    Args:
        written: content by file name; streams may be among them.
        secrets: see ``needles``.
        counts: numbers of images that must not stand in a text.
    """
    found = []
    numbers = re.compile(r"(?<![\w.])(?:" + "|".join(map(str, counts)) + r")(?!\w|\.\d)") if counts else None
    for name, content in written.items():
        for haystack in _decoded(name, content):
            found += [f"{what} in {name}" for what, needle in secrets.items() if needle in haystack]
        found += [f"{what} in the name {name}" for what, needle in secrets.items() if needle in name.encode()]
        if numbers and Path(name).suffix in _TEXT and (hit := numbers.search(content.decode("utf-8", "replace"))):
            found.append(f"count {hit[0]} in {name}")
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
