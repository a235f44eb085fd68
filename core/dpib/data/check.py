"""Whether a dataset is here and is what its card says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpib.data.load import load_sides, locate
from dpib.data.prepared import cache_folder
from dpib.data.sources import terms_hint
from dpib.dataset_spec import DatasetSpec
from dpib.errors import DataError
from dpib.progress import Reporter


@dataclass(frozen=True)
class Presence:
    """What was found.

    Attributes:
        present: whether the images are on this machine.
        bytes: size of the files; None when nothing is here, or it is part of a library.
        prepared_bytes: size of what was prepared from them, in the cache.
        place: where they are, or would be fetched from.
        fingerprint: ``"matches"``; ``"unknown"``: nobody has put one on the card; None: not looked at.
        problem: why they cannot be loaded, and what to do.
    """

    present: bool
    bytes: int | None
    prepared_bytes: int
    place: str
    fingerprint: str | None = None
    problem: str = ""


def find(card: DatasetSpec, data_dir: Path | None = None) -> Presence:
    """Look for a dataset without reading its images."""
    prepared = sum(file.stat().st_size for file in (cache_folder() / "prepared").glob(f"{card.name}-*/*.npy"))
    try:
        location = locate(card, data_dir)
    except DataError as error:
        return Presence(False, None, prepared, "", problem=str(error))
    present = location.kind != "hub" or location.n_bytes is not None
    problem = ""
    if not present:
        problem = (
            f"{card.name} is not on this machine. {terms_hint(card)}"
            f"Fetch it from {location.place}: dpib datasets {card.name} --check --download"
        )
    return Presence(present, location.n_bytes, prepared, location.place, problem=problem)


def check(
    card: DatasetSpec, data_dir: Path | None = None, download: bool = False, reporter: Reporter | None = None
) -> Presence:
    """Look for a dataset, read every image, and compare with the card.

    Args:
        card: the dataset.
        data_dir: as in ``load_splits``.
        download: fetch it from the Hub if it is not here.
        reporter: told about images that are prepared.
    """
    found = find(card, data_dir)
    if not found.present and not (download and found.place):
        return found
    try:
        load_sides(card, data_dir, reporter)
    except DataError as error:
        return Presence(found.present, found.bytes, found.prepared_bytes, found.place, problem=str(error))
    found = find(card, data_dir)
    verdict = "matches" if card.verified else "unknown"
    return Presence(True, found.bytes, found.prepared_bytes, found.place, fingerprint=verdict)
