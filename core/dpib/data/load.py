"""From a dataset card to images that are checked against it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dpib.data.decode import decode_rows
from dpib.data.images import LabelledImages, PublicDataset, Splits
from dpib.data.sources import Location, locate, open_tables
from dpib.data.splits import SIDES, split_by_rank
from dpib.errors import ConfigError, DataError
from dpib.spec import BundledSource, DatasetSpec, HubSource

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Location", "load_public", "load_splits", "locate"]

_log = logging.getLogger(__name__)


def load_splits(spec: DatasetSpec, data_dir: Path | None = None) -> Splits:
    """Load a sensitive dataset and check it against its card.

    Args:
        spec: the card.
        data_dir: folder that holds mirrors; else the environment variable ``DPIB_DATA``. Where neither holds
            the dataset, the Hub is asked.

    Returns:
        Three sides of uint8 (N, C, H, W) images, RGB order, with int64 labels (N,), in the order of nominal ids.

    Raises:
        DataError: data is unavailable, damaged or not what the card says.
        ConfigError: the card is of a public dataset.
    """
    if spec.role != "sensitive":
        raise ConfigError(f"Expected a sensitive dataset, got '{spec.name}', which is public.")
    return Splits(**_load_sides(spec, data_dir))


def load_public(spec: DatasetSpec, data_dir: Path | None = None) -> PublicDataset:
    """Load a public dataset and check it against its card; otherwise as ``load_splits``.

    Raises:
        DataError: data is unavailable, damaged or not what the card says.
        ConfigError: the card is of a sensitive dataset, which must never pass for public.
    """
    if spec.role != "public":
        raise ConfigError(f"Expected a public dataset, got '{spec.name}', which is sensitive.")
    return PublicDataset(spec, _load_sides(spec, data_dir)["train"])


def _load_sides(spec: DatasetSpec, data_dir: Path | None) -> dict[str, LabelledImages]:
    """Load, divide and verify all sides of a dataset."""
    location = locate(spec, data_dir)
    if isinstance(spec.source, BundledSource):
        sides = {"pool": _digits()}
    else:
        tables = open_tables(spec, spec.source, location)
        sides = {role: _decode(spec, spec.source, role, table) for role, table in tables.items()}
    if "pool" in sides:
        pool = sides.pop("pool")
        sizes = {side: size for side, size in spec.split.sizes.items() if side not in sides}
        sides |= {side: pool[ids] for side, ids in split_by_rank(spec.name, spec.split.n_pool, sizes).items()}
    sides = {side: sides[side] for side in SIDES if side in sides}
    for side, data in sides.items():
        data.check_against(spec.shape, len(spec.classes), f"{spec.name}, {side} side")
    _check_fingerprints(spec, sides, location)
    return sides


def _digits() -> LabelledImages:
    """Return scikit-learn's 1,797 digits, levels 0..16 spread over 0..255 and rounded, halves up."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = torch.from_numpy(bunch.images).to(torch.int64)
    images = (levels * 255 + 8).div(16, rounding_mode="floor").to(torch.uint8)
    return LabelledImages(images.unsqueeze(1), torch.from_numpy(bunch.target).to(torch.int64))


def _decode(spec: DatasetSpec, source: HubSource, role: str, table: Dataset) -> LabelledImages:
    what = f"{spec.name}, source split '{source.splits[role]}'"
    return decode_rows(table, source.image_column, source.label_column, spec.shape, what)


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
