"""Where a dataset's rows come from: a library, a local mirror or the Hugging Face Hub, as one kind of table."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dpib.errors import DataError
from dpib.spec import BundledSource, DatasetSpec, HubSource

if TYPE_CHECKING:
    from datasets import Dataset

ENVIRONMENT = "DPIB_DATA"
"""Environment variable that names the mirror's folder when no ``data_dir`` is given."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Location:
    """Where a dataset would be loaded from.

    Attributes:
        place: the library, folder or Hub address.
        files: of a mirror, the parquet files per role of the source; else empty.
    """

    kind: Literal["bundled", "mirror", "hub"]
    place: str
    files: Mapping[str, tuple[Path, ...]]

    @property
    def n_bytes(self) -> int | None:
        """Size of the mirror's files; None for the other kinds."""
        return sum(file.stat().st_size for role in self.files.values() for file in role) if self.files else None


def locate(spec: DatasetSpec, data_dir: Path | None = None) -> Location:
    """Say where a dataset would be loaded from, without loading it.

    A mirror's folder goes before the Hub; of its files the presence and the parquet footers are checked.

    Args:
        spec: the card.
        data_dir: folder that holds mirrors; else the environment variable ``DPIB_DATA``.

    Raises:
        DataError: there is no source here, or a file of the mirror is missing or damaged.
    """
    source = spec.source
    if isinstance(source, BundledSource):
        return Location("bundled", f"{source.library} ({source.loader})", {})
    named = os.environ.get(ENVIRONMENT)
    root = data_dir or (Path(named) if named else None)
    if root is not None and not root.is_dir():
        raise DataError(f"{spec.name}: expected a folder of datasets, got '{root}' (--data-dir or {ENVIRONMENT}).")
    if root is not None and (root / source.mirror).is_dir():
        folder = root / source.mirror
        files = {role: _shards(spec.name, folder, split) for role, split in source.splits.items()}
        return Location("mirror", str(folder), files)
    if source.repo is None:
        searched = f"'{root}' has no folder '{source.mirror}'" if root else f"{ENVIRONMENT} is not set"
        raise DataError(
            f"{spec.name}: no copy on the Hub is known to match, and {searched}. Please {_mirror_hint(source)}"
        )
    return Location("hub", f"hf://datasets/{source.repo}@{source.revision or 'main'}", {})


def open_tables(spec: DatasetSpec, source: HubSource, location: Location) -> dict[str, Dataset]:
    """Open every split of a source and compare columns, class names and row counts with the card.

    Returns:
        Per role of the source an Arrow table, memory-mapped from the cache of ``datasets``.

    Raises:
        DataError: names the split, what was expected and what was found.
    """
    tables = {}
    for role, split in source.splits.items():
        what = f"{spec.name}, source split '{split}' of {location.place}"
        tables[role] = _open(source, split, location.files.get(role), what)
        _check_table(spec, source, tables[role], role, what)
    if location.kind == "hub" and source.revision is None:
        _suggest_revision(spec.name, tables)
    return tables


def _mirror_hint(source: HubSource) -> str:
    files = ", ".join(f"{source.mirror}/{split}-*.parquet" for split in source.splits.values())
    return f"set {ENVIRONMENT} or pass --data-dir: a folder that holds {files}."


def _shards(dataset: str, folder: Path, split: str) -> tuple[Path, ...]:
    """Return a split's parquet files in order, each with a footer that can be read."""
    import pyarrow
    import pyarrow.parquet

    files = tuple(sorted(folder.glob(f"{split}-*.parquet")))
    if not files:
        raise DataError(f"{dataset}: expected '{folder}' to hold {split}-*.parquet, found none.")
    for file in files:
        try:
            pyarrow.parquet.read_metadata(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{dataset}: '{file}' is damaged or incomplete ({error}). Fetch it again.") from error
    return files


def _open(source: HubSource, split: str, files: tuple[Path, ...] | None, what: str) -> Dataset:
    """Return one split as an Arrow table, from parquet files or else from the Hub."""
    import datasets

    try:
        with no_progress_bars():
            if files is None:
                return datasets.load_dataset(source.repo, revision=source.revision, split=split)
            patterns = [glob.escape(str(file)) for file in files]
            return datasets.load_dataset("parquet", data_files={split: patterns}, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        if files is None:
            raise DataError(f"{what}: cannot be downloaded. {reason}. Connect, or {_mirror_hint(source)}") from error
        raise DataError(f"{what}: cannot be read; {_damaged(files)}. {reason}") from error


def _damaged(files: tuple[Path, ...]) -> str:
    """Say which files cannot be read through; takes as long as reading them."""
    import pyarrow
    import pyarrow.parquet

    names = []
    for file in files:
        try:
            pyarrow.parquet.read_table(file)
        except (pyarrow.ArrowException, OSError):
            names.append(file.name)
    return f"damaged: {', '.join(names)}" if names else "its files are readable by themselves"


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Silence the bars of ``datasets`` for a while, unless the user's environment decides about them."""
    import datasets

    ours = datasets.is_progress_bar_enabled() and datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is None
    if ours:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if ours:
            datasets.enable_progress_bars()


def _check_table(spec: DatasetSpec, source: HubSource, table: Dataset, role: str, what: str) -> None:
    """Compare one split with the card.

    A public source may list further classes after the card's: those of splits that are not loaded.
    """
    import datasets

    image, label = table.features.get(source.image_column), table.features.get(source.label_column)
    if not isinstance(image, datasets.Image) or not isinstance(label, datasets.ClassLabel):
        raise DataError(
            f"{what}: expected columns '{source.image_column}' (Image) and '{source.label_column}' (ClassLabel), "
            f"got {dict(table.features)}."
        )
    names = tuple(label.names[: len(spec.classes)] if spec.role == "public" else label.names)
    if names != spec.classes:
        raise DataError(f"{what}: expected {_listed(spec.classes)}, got {_listed(names)}.")
    expected = spec.split.n_pool if role == "pool" else spec.split.sizes[role]
    if len(table) != expected:
        raise DataError(f"{what}: expected {expected:,} rows, got {len(table):,}.")


def _suggest_revision(dataset: str, tables: Mapping[str, Dataset]) -> None:
    """Log the Hub commit that was loaded; ``datasets`` names the folder of its cache after it."""
    commit = Path(next(iter(tables.values())).cache_files[0]["filename"]).parent.name
    if re.fullmatch(r"[0-9a-f]{40}", commit):
        _log.warning("%s: the card pins no revision. If its fingerprints hold, put on it: revision=%r", dataset, commit)


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})"
