"""A person's own labelled images: a folder with one sub-folder per class, or a parquet file in the Hub's layout.

Everything found here, names and counts included, is private until its owner says otherwise. Messages name files:
they are for the owner's eyes. Nothing is written, no cache is filled.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpib.data.images import LabelledImages
from dpib.data.pixels import SUFFIXES, Preprocessing, read_pixels
from dpib.errors import ConfigError, DataError

MAX_CLASSES = 1000
_LITTER = frozenset({"Thumbs.db", "desktop.ini"})
_BATCH = 200


@dataclass(frozen=True)
class _Row:
    """One image that was found: where, what it is called in messages, and its class."""

    source: Path | bytes
    what: str
    label: int


def check_classes(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return class names that can also name folders.

    Raises:
        ConfigError: if there is none, one is repeated, or one cannot be a folder's name.
    """
    if not 1 <= len(names) <= MAX_CLASSES:
        raise ConfigError(f"{where}: expected 1 to {MAX_CLASSES} class names, got {len(names)}.")
    for name in names:
        unfit = name.startswith(".") or any(c in "/\\" or unicodedata.category(c).startswith("C") for c in name)
        if unfit or not name.strip() or len(name.encode()) > 100:
            raise ConfigError(f"{where}: {name!r} cannot name a class: it has to be fit as a folder's name.")
    if len({name.casefold() for name in names}) < len(names):
        raise ConfigError(f"{where}: a class is listed twice.")
    return names


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, one a line, in order; empty lines are skipped.

    Raises:
        ConfigError: if it cannot be read or the names do not fit.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the class names in {path}: {error}.") from error
    return check_classes(tuple(line.strip() for line in lines if line.strip()), str(path))


def found_classes(path: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted, or those in a parquet file's features. Private until declared.

    Raises:
        DataError: if there are none.
        ConfigError: if one cannot be used.
    """
    names = tuple(folder.name for folder in _folders(path)) if path.is_dir() else _feature_names(_open(path))
    if not names:
        raise DataError(f"{path} does not name its classes. List them in a file, one a line: --classes FILE.")
    return check_classes(names, str(path))


def count_own(path: Path) -> int:
    """Return how many images there are, without decoding any. Private until declared."""
    if path.is_dir():
        return sum(len(_files(folder)) for folder in _folders(path))
    return int(_open(path).metadata.num_rows)


def read_own(path: Path, classes: tuple[str, ...], how: Preprocessing) -> LabelledImages:
    """Read all images, in the order of classes and then file names.

    Args:
        path: a folder with one sub-folder per class (PNG, JPEG, TIFF, DICOM files), or a ``.parquet`` file with the
            columns image (encoded bytes) and label (number or name).
        classes: public names, in label order; a class may have no images.
        how: what is done to each image.

    Returns:
        N rows: images uint8 (N, C, H, W), RGB order, labels int64 (N,).

    Raises:
        DataError: names the first file or row that cannot be used. For the owner only.
    """
    rows = _folder_rows(path, classes) if path.is_dir() else _parquet_rows(path, classes)
    images, labels = [], []
    for row in rows:
        images.append(read_pixels(row.source, row.what, how))
        labels.append(row.label)
    if not images:
        raise DataError(f"{path} holds no images.")
    return LabelledImages(torch.from_numpy(np.stack(images)), torch.tensor(labels, dtype=torch.int64))


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"Cannot list {folder}: {error.strerror}.") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _LITTER]


def _folders(path: Path) -> list[Path]:
    """Return the class folders; a file beside them would be an image without a class."""
    entries = _visible(path)
    if loose := [entry.name for entry in entries if not entry.is_dir()]:
        raise DataError(
            f"{path}: expected one folder per class, found the file '{loose[0]}'. Move it into its class's folder, or "
            "away; a parquet file is given by its own path."
        )
    return entries


def _files(folder: Path) -> list[Path]:
    files = _visible(folder)
    for file in files:
        if not file.is_file() or file.suffix.lower() not in SUFFIXES:
            raise DataError(f"{file}: not an image file ({', '.join(sorted(SUFFIXES))}). Move it away.")
    return files


def _folder_rows(path: Path, classes: tuple[str, ...]) -> Iterator[_Row]:
    by_name = {folder.name: folder for folder in _folders(path)}
    if unknown := sorted(by_name.keys() - set(classes)):
        raise DataError(
            f"{path}: the folder '{unknown[0]}' is not a listed class ({', '.join(classes[:12])}). Correct the list or "
            "move the folder away."
        )
    for label, name in enumerate(classes):
        for file in _files(by_name[name]) if name in by_name else ():
            yield _Row(file, str(file), label)


def _open(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    if path.suffix != ".parquet":
        raise DataError(f"{path}: expected a folder with one sub-folder per class, or a .parquet file.")
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Cannot read {path} as parquet: {error}") from error
    if missing := {"image", "label"} - set(file.schema_arrow.names):
        raise DataError(f"{path}: expected the columns image and label, {', '.join(sorted(missing))} missing.")
    return file


def _feature_names(file: Any) -> tuple[str, ...]:
    """Return the class names that ``datasets`` keeps in a parquet file's metadata; none if it keeps none."""
    try:
        features = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _parquet_rows(path: Path, classes: tuple[str, ...]) -> Iterator[_Row]:
    import pyarrow

    file = _open(path)
    names = _feature_names(file)
    if unknown := sorted(set(names) - set(classes)):
        raise DataError(f"{path}: its class '{unknown[0]}' is not a listed class ({', '.join(classes[:12])}).")
    number = {name: label for label, name in enumerate(classes)}
    by_code: dict[Any, int] = number | {code: number[name] for code, name in enumerate(names or classes)}
    position = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH, columns=["image", "label"]):
            for image, code in zip(batch["image"].to_pylist(), batch["label"].to_pylist(), strict=True):
                what = f"{path}, row {position}"
                encoded = image.get("bytes") if isinstance(image, dict) else image
                if not isinstance(encoded, bytes):
                    raise DataError(f"{what}: expected the bytes of an image, got an empty cell.")
                if not isinstance(code, int | str) or code not in by_code:
                    raise DataError(f"{what}: the label {code!r} is not a listed class.")
                yield _Row(encoded, what, by_code[code])
                position += 1
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: damaged near row {position} ({error}).") from error
