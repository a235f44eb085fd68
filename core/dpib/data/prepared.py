"""Images whose preprocessing takes long, prepared once and kept as memory-mapped arrays.

::

    <cache>/prepared/<dataset>-<key>/
      <role>-images.npy   uint8 (N, C, H, W)
      <role>-labels.npy   int64 (N,)
      <role>.json         how many rows are done; preparing goes on from there

The key covers the steps, the shape, the split and the files that are read. One preparation of a dataset is kept: a new
one removes those before it. Reading a prepared set maps the files: memory holds the pages in use, and the system may
drop them. The cache is ``DPIB_CACHE``, else ``~/.cache/dpib``.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpib.data.decode import BATCH, Decoding, decode_into
from dpib.data.images import LabelledImages
from dpib.data.sources import Location
from dpib.data.steps import VERSION
from dpib.dataset_spec import DatasetSpec
from dpib.errors import StorageError
from dpib.files import exclusive, taking_turns, write_text_atomically
from dpib.progress import Reporter
from dpib.spec import canonical_json, sha256_text

if TYPE_CHECKING:
    from datasets import Dataset

ENVIRONMENT = "DPIB_CACHE"
_SAVE_EVERY = 10 * BATCH
_COPY_ON_WRITE_UP_TO = 4 << 30
"""Larger maps are read-only: Linux may refuse private writable maps that are larger than the memory."""


def cache_folder() -> Path:
    """Return where prepared images are kept."""
    named = os.environ.get(ENVIRONMENT)
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(home) / "dpib"


def prepared_bytes(spec: DatasetSpec) -> int:
    """Return the size of a prepared dataset."""
    return sum(spec.split.sizes.values()) * (math.prod(spec.shape) + 8)


def check_room(spec: DatasetSpec) -> None:
    """Refuse a dataset that the disk has no room for, before anything is read or downloaded.

    What is prepared already counts as room: it is used, or removed when something else is prepared.

    Raises:
        StorageError: names the size needed.
    """
    folder = cache_folder() / "prepared"
    files = (file for one in _preparations(spec.name) for file in one.glob("*.npy"))
    here = sum(512 * file.stat().st_blocks for file in files)  # an unfinished one has its full size, and holes
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed, free = prepared_bytes(spec) - here, shutil.disk_usage(standing).free
    if needed > free:
        raise StorageError(
            f"{spec.name}: prepared images need {prepared_bytes(spec) / 1e9:.1f} GB in '{folder}', where "
            f"{free / 1e9:.1f} GB are free. Free some, or let {ENVIRONMENT} name a folder on a larger disk."
        )


def prepared_folder(spec: DatasetSpec, location: Location, tables: Mapping[str, Dataset]) -> Path:
    """Return the folder of a dataset as these files and this card make it."""
    if location.kind == "mirror":
        stats = ((file, file.stat()) for role in location.files.values() for file in role)
        files = [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    else:
        files = [[entry["filename"]] for table in tables.values() for entry in table.cache_files]
    card = spec.model_dump(mode="json", include={"source", "shape", "steps", "split"})
    key = sha256_text(canonical_json({"version": VERSION, "files": files} | card))
    return cache_folder() / "prepared" / f"{spec.name}-{key[:16]}"


def prepare(
    folder: Path, role: str, table: Dataset, how: Decoding, places: np.ndarray, reporter: Reporter
) -> LabelledImages:
    """Return a prepared split, preparing what is missing. Of several processes one prepares; the others wait for it.

    Args:
        folder: from ``prepared_folder``.
        role: names the files.
        table: the rows.
        how: columns, steps and shape.
        places: int64 (N,), where each row goes.
        reporter: told about progress.

    Raises:
        DataError: if a row cannot be used.
        FolderInUse: if another process deleted the folder just now.
    """

    @contextmanager
    def waiting() -> Iterator[None]:
        reporter.note("Waiting for another process that prepares the same images.")
        yield

    if _rows_done(folder, role) < len(table):
        with taking_turns(folder, waiting):
            start = _rows_done(folder, role)
            if start < len(table):
                _remove_others(folder)
                _prepare_from(start, folder, role, table, how, places, reporter)
    images, labels = (np.load(file, mmap_mode="r" if _large(file) else "c") for file in _arrays(folder, role))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))


def _preparations(name: str) -> list[Path]:
    folders = (cache_folder() / "prepared").glob(f"{name}-*")
    return [folder for folder in folders if re.fullmatch(re.escape(name) + "-[0-9a-f]{16}", folder.name)]


def _remove_others(folder: Path) -> None:
    """Remove other preparations of the dataset, unless a process is at work on one; who has mapped one keeps it."""
    for other in _preparations(folder.name.rpartition("-")[0]):
        if other != folder:
            with suppress(StorageError), exclusive(other):
                shutil.rmtree(other)


def _large(file: Path) -> bool:
    return file.stat().st_size > _COPY_ON_WRITE_UP_TO


def _arrays(folder: Path, role: str) -> tuple[Path, Path]:
    return folder / f"{role}-images.npy", folder / f"{role}-labels.npy"


def _rows_done(folder: Path, role: str) -> int:
    if not all(file.exists() for file in _arrays(folder, role)):
        return 0
    try:
        return int(json.loads((folder / f"{role}.json").read_text())["rows"])
    except FileNotFoundError:
        return 0


def _prepare_from(
    start: int, folder: Path, role: str, table: Dataset, how: Decoding, places: np.ndarray, reporter: Reporter
) -> None:
    mode, n = "r+" if start else "w+", len(table)
    open_map = np.lib.format.open_memmap
    images_file, labels_file = _arrays(folder, role)
    if not start:  # whoever has mapped an old file keeps it
        images_file.unlink(missing_ok=True)
        labels_file.unlink(missing_ok=True)
    images = open_map(images_file, mode, dtype=np.uint8, shape=(n, *how.shape))
    labels = open_map(labels_file, mode, dtype=np.int64, shape=(n,))

    with reporter.task(f"prepare {how.what}", n) as task:

        def progress(done: int) -> None:
            task.update(done)
            if done % _SAVE_EVERY == 0 or done == n:
                images.flush()
                labels.flush()
                write_text_atomically(folder / f"{role}.json", json.dumps({"rows": done}) + "\n")

        decode_into(table, how, images, labels, places, start, progress)
