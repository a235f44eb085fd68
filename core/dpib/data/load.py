"""From a dataset card to images that are checked against it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpib.data.decode import Decoding, decode_into
from dpib.data.folder import read_folder
from dpib.data.images import LabelledImages, PublicDataset, Splits
from dpib.data.prepared import check_room, prepare, prepared_folder
from dpib.data.sources import Location, layout_at, locate, open_tables, record_order
from dpib.data.splits import SIDES, split_by_rank
from dpib.dataset_spec import DatasetSpec, FolderSource, HubSource
from dpib.errors import ConfigError, DataError
from dpib.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Location", "load_public", "load_sides", "load_splits", "locate"]

_log = logging.getLogger(__name__)


def load_splits(spec: DatasetSpec, data_dir: Path | None = None, reporter: Reporter | None = None) -> Splits:
    """Load a sensitive dataset and check it against its card.

    Args:
        spec: the card.
        data_dir: folder that holds mirrors; else the environment variable ``DPIB_DATA``. Where neither holds
            the dataset, the Hub is asked.
        reporter: told about images that are prepared.

    Returns:
        Three sides of uint8 (N, C, H, W) images, RGB order, with int64 labels (N,), in the order of nominal ids.

    Raises:
        DataError: data is unavailable, damaged or not what the card says.
        StorageError: the disk has no room for prepared images.
        ConfigError: the card is of a public dataset.
    """
    if spec.role != "sensitive":
        raise ConfigError(f"Expected a sensitive dataset, got '{spec.name}', which is public.")
    return Splits(**load_sides(spec, data_dir, reporter))


def load_public(spec: DatasetSpec, data_dir: Path | None = None, reporter: Reporter | None = None) -> PublicDataset:
    """Load a public dataset and check it against its card; otherwise as ``load_splits``.

    Raises:
        DataError: data is unavailable, damaged or not what the card says.
        ConfigError: the card is of a sensitive dataset, which must never pass for public.
    """
    if spec.role != "public":
        raise ConfigError(f"Expected a public dataset, got '{spec.name}', which is sensitive.")
    return PublicDataset(spec, load_sides(spec, data_dir, reporter)["train"])


def load_sides(
    spec: DatasetSpec, data_dir: Path | None = None, reporter: Reporter | None = None
) -> dict[str, LabelledImages]:
    """Load, divide and verify all sides of a dataset, sensitive or public; otherwise as ``load_splits``."""
    location = locate(spec, data_dir)
    if isinstance(spec.source, HubSource):
        sides = _from_tables(spec, spec.source, location, reporter or Reporter())
    elif isinstance(spec.source, FolderSource):
        sides = read_folder(spec, spec.source)
    else:
        pool = _digits()
        sides = {side: pool[ids] for side, ids in split_by_rank(spec.name, len(pool), spec.split.sizes).items()}
    sides = {side: sides[side] for side in SIDES if side in sides}
    for side, data in sides.items():
        data.check_against(spec.shape, len(spec.classes), f"{spec.name}, {side} side")
    _check_fingerprints(spec, sides, location)
    return sides


def _from_tables(
    spec: DatasetSpec, source: HubSource, location: Location, reporter: Reporter
) -> dict[str, LabelledImages]:
    """Decode every split of a source so that each side is one stretch of it."""
    if spec.steps:
        check_room(spec)
    tables = open_tables(spec, source, location)
    layout = layout_at(source, location)
    sides = {}
    for role, table in tables.items():
        what = f"{spec.name}, source split '{layout.splits[role]}'"
        ids = _ids(spec, role, len(table), tables)
        places = np.empty(len(table), dtype=np.int64)
        places[record_order(table, source, layout, what)[torch.cat(list(ids.values())).numpy()]] = np.arange(len(table))
        how = Decoding(layout.image_column, layout.label_column, spec.shape, what, spec.steps)
        if spec.steps:
            data = prepare(prepared_folder(spec, location, tables), role, table, how, places, reporter)
        else:
            images = np.empty((len(table), *spec.shape), dtype=np.uint8)
            labels = np.empty(len(table), dtype=np.int64)
            decode_into(table, how, images, labels, places)
            data = LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))
        start = 0
        for side, members in ids.items():
            sides[side] = data[start : start + len(members)]
            start += len(members)
    return sides


def _ids(spec: DatasetSpec, role: str, n: int, roles: Collection[str]) -> dict[str, Tensor]:
    """Return the nominal ids of each side that a source split holds."""
    if role != "pool":
        return {role: torch.arange(n)}
    sizes = {side: size for side, size in spec.split.sizes.items() if side not in roles}
    return split_by_rank(spec.name, spec.split.n_pool, sizes)


def _digits() -> LabelledImages:
    """Return scikit-learn's 1,797 digits, levels 0..16 spread over 0..255 and rounded, halves up."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = torch.from_numpy(bunch.images).to(torch.int64)
    images = (levels * 255 + 8).div(16, rounding_mode="floor").to(torch.uint8)
    return LabelledImages(images.unsqueeze(1), torch.from_numpy(bunch.target).to(torch.int64))


def _check_fingerprints(spec: DatasetSpec, sides: Mapping[str, LabelledImages], location: Location) -> None:
    """Refuse a side that is not what the card says; log what to paste for sides the card does not know."""
    found = {side: data.fingerprint for side, data in sides.items()}
    for side, expected in spec.fingerprints.items():
        if found[side] != expected:
            raise DataError(
                f"{spec.name}, {side} side: expected fingerprint {expected}, got {found[side]} "
                f"(from {location.place}). These are not the images of the card."
            )
    if unknown := {side: digest for side, digest in found.items() if side not in spec.fingerprints}:
        _log.warning(
            "%s: loaded from %s without a check, for the card has no fingerprint of %s. If you trust it, put on the "
            "card: fingerprints=%r",
            spec.name,
            location.place,
            ", ".join(unknown),
            unknown,
        )
