"""Where a dataset's rows come from: a library, a person's folder, a local mirror or the Hugging Face Hub."""

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

import numpy as np

from dpib.dataset_spec import BundledSource, DatasetSpec, FolderSource, HubSource, Layout
from dpib.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

ENVIRONMENT = "DPIB_DATA"
"""Environment variable that names the mirror's folder when no ``data_dir`` is given."""

_STEM = re.compile(r"^.*/|\.(?:png|jpe?g|tiff?)$", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Location:
    """Where a dataset would be loaded from.

    Attributes:
        place: the library, folder or Hub address.
        files: per role of the source, the files that are here: of a mirror, of a folder, or of the cache that
            ``datasets`` keeps of the Hub; empty where there is none.
    """

    kind: Literal["bundled", "folder", "mirror", "hub"]
    place: str
    files: Mapping[str, tuple[Path, ...]]

    @property
    def n_bytes(self) -> int | None:
        """Size of the files that are here; None where there is none."""
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
    if isinstance(source, FolderSource):
        return _locate_folder(spec.name, source)
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
    return Location("hub", f"hf://datasets/{source.repo}@{source.revision or 'main'}", _cached(source.repo))


def layout_at(source: HubSource, location: Location) -> Layout:
    """Return how the copy at a location is laid out."""
    return source.hub if location.kind == "hub" and source.hub is not None else source


def open_tables(spec: DatasetSpec, source: HubSource, location: Location) -> dict[str, Dataset]:
    """Open every split of a source and compare columns, class names and row counts with the card.

    Returns:
        Per role of the source an Arrow table, memory-mapped from the cache of ``datasets``.

    Raises:
        DataError: names the split, what was expected and what was found.
    """
    tables = {}
    layout = layout_at(source, location)
    for role, split in layout.splits.items():
        what = f"{spec.name}, source split '{split}' of {location.place}"
        files = location.files[role] if location.kind == "mirror" else None
        tables[role] = _open(spec, source, split, files, what)
        _check_table(spec, layout, tables[role], role, what)
    if location.kind == "hub" and source.revision is None:
        _suggest_revision(spec.name, tables)
    return tables


def record_order(table: Dataset, source: HubSource, layout: Layout, what: str) -> np.ndarray:
    """Return int64 (N,): the row of each nominal id.

    Raises:
        DataError: if ids are ranks of file names, and a name is missing or occurs twice.
    """
    if source.order == "stored":
        return np.arange(len(table))
    import pyarrow.compute

    column = table.with_format("arrow")[:][layout.name_column or layout.image_column]
    if layout.name_column is None:
        column = pyarrow.compute.struct_field(column, "path")
    names = [None if name is None else _STEM.sub("", name) for name in column.to_pylist()]
    if None in names or len(set(names)) < len(names):
        raise DataError(f"{what}: expected every image to have a file name of its own, which numbers it.")
    return np.argsort(np.array(names))


def _locate_folder(dataset: str, source: FolderSource) -> Location:
    folder = Path(source.path)
    if not folder.is_dir():
        raise DataError(
            f"{dataset}: its folder '{folder}' is not there. Put it back, or: "
            f"dpib datasets add FOLDER --name {dataset} --replace"
        )
    return Location("folder", str(folder), {"pool": tuple(file for file in folder.rglob("*") if file.is_file())})


def _cached(repo: str) -> dict[str, tuple[Path, ...]]:
    """Return what the cache of ``datasets`` holds of a repository."""
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE) / repo.replace("/", "___")
    files = tuple(sorted(folder.rglob("*.arrow"))) if folder.is_dir() else ()
    return {"all": files} if files else {}


def terms_hint(spec: DatasetSpec) -> str:
    """Return what has to be done once before a gated repository can be read; nothing for others."""
    if not spec.gated or not isinstance(spec.source, HubSource):
        return ""
    return f"Accept the terms on https://huggingface.co/datasets/{spec.source.repo} and log in: hf auth login. "


def _mirror_hint(source: HubSource) -> str:
    parts = [part for split in source.splits.values() for part in split.split("+")]
    files = ", ".join(f"{source.mirror}/{part}-*.parquet" for part in parts)
    return f"set {ENVIRONMENT} or pass --data-dir: a folder that holds {files}."


def _shards(dataset: str, folder: Path, split: str) -> tuple[Path, ...]:
    """Return a split's parquet files in order, each with a footer that can be read."""
    import pyarrow
    import pyarrow.parquet

    files: tuple[Path, ...] = ()
    for part in split.split("+"):
        found = tuple(sorted(folder.glob(f"{part}-*.parquet")))
        if not found:
            raise DataError(f"{dataset}: expected '{folder}' to hold {part}-*.parquet, found none.")
        files += found
    for file in files:
        try:
            pyarrow.parquet.read_metadata(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{dataset}: '{file}' is damaged or incomplete ({error}). Fetch it again.") from error
    return files


def _open(spec: DatasetSpec, source: HubSource, split: str, files: tuple[Path, ...] | None, what: str) -> Dataset:
    """Return one split as an Arrow table, from parquet files or else from the Hub."""
    import datasets

    try:
        with no_progress_bars():
            if files is None:
                return datasets.load_dataset(source.repo, revision=source.revision, split=split)
            patterns = [glob.escape(str(file)) for file in files]
            return datasets.load_dataset("parquet", data_files={"rows": patterns}, split="rows")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        if files is None:
            raise DataError(
                f"{what}: cannot be downloaded. {reason}. {terms_hint(spec)}Connect, or {_mirror_hint(source)}"
            ) from error
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


def _check_table(spec: DatasetSpec, layout: Layout, table: Dataset, role: str, what: str) -> None:
    """Compare one split with the card.

    A public source may list further classes after the card's: those of splits that are not loaded.
    """
    import datasets

    image, label = table.features.get(layout.image_column), table.features.get(layout.label_column)
    flag = layout.labels == "flag"
    fits = label == datasets.Value("bool") if flag else isinstance(label, datasets.ClassLabel)
    if not isinstance(image, datasets.Image) or not fits:
        raise DataError(
            f"{what}: expected columns '{layout.image_column}' (Image) and '{layout.label_column}' "
            f"({'true or false' if flag else 'ClassLabel'}), got {dict(table.features)}."
        )
    if not flag:
        names = tuple(label.names[: len(spec.classes)] if spec.role == "public" else label.names)
        names = tuple(layout.aliases.get(name, name) for name in names)
        if names != spec.classes:
            raise DataError(f"{what}: expected {_listed(spec.classes)}, got {_listed(names)}.{_first(spec, names)}")
    expected = spec.split.n_pool if role == "pool" else spec.split.sizes[role]
    if len(table) != expected:
        raise DataError(f"{what}: expected {expected:,} rows, got {len(table):,}.")


def _first(spec: DatasetSpec, names: tuple[str, ...]) -> str:
    for number, (expected, found) in enumerate(zip(spec.classes, names, strict=False)):
        if expected != found:
            return f" The first that differs is number {number}: '{expected}', got '{found}'."
    return ""


def _suggest_revision(dataset: str, tables: Mapping[str, Dataset]) -> None:
    """Log the Hub commit that was loaded; ``datasets`` names the folder of its cache after it."""
    commit = Path(next(iter(tables.values())).cache_files[0]["filename"]).parent.name
    if re.fullmatch(r"[0-9a-f]{40}", commit):
        _log.warning("%s: the card pins no revision. If its fingerprints hold, put on it: revision=%r", dataset, commit)


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})"
