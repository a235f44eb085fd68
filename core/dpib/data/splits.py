"""Which side a record is on: a public rule over nominal ids that never looks at a record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpib.errors import ConfigError

SIDES = ("train", "validation", "test")


def salted_hash(dataset: str, record_id: int | str) -> bytes:
    """Return the SHA-256 of a record's public id, a number or a file name; the salt is the dataset's public name."""
    return hashlib.sha256(f"dpib-split:{dataset}:{record_id}".encode()).digest()


def split_by_rank(dataset: str, n_pool: int, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Divide the nominal ids ``0..n_pool-1`` by the rank of their salted hash.

    The lowest ranks are ``train``, the next ``validation``, the last ``test``. A side is a function of the
    dataset's name, the id and the public numbers ``n_pool`` and ``sizes`` alone: adding, removing or changing
    a record moves no other record, which is what the privacy guarantee needs. (Another ``n_pool`` would be
    another rule: an id's hash stays, its rank can only rise.)

    Args:
        dataset: name of the dataset, the salt.
        n_pool: nominal public size of the pool that is divided.
        sizes: records per side; their sum is ``n_pool``.

    Returns:
        Per side an int64 tensor (size,) of ids in ascending order.

    Raises:
        ConfigError: if a side is unknown or the sizes do not add up to ``n_pool``.
    """
    _check_sizes(dataset, n_pool, sizes)
    ranked = sorted(range(n_pool), key=lambda record_id: salted_hash(dataset, record_id))
    sides = {}
    start = 0
    for side in SIDES:
        if side in sizes:
            end = start + sizes[side]
            sides[side] = torch.tensor(sorted(ranked[start:end]), dtype=torch.int64)
            start = end
    return sides


def split_by_name(dataset: str, names: Sequence[str], n_pool: int, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Divide records by thresholds on the salted hash of their file names.

    A side is a function of the dataset's name, the file's name and public numbers alone; how many records exist
    changes nothing. Sides have about the share ``size / n_pool`` of the records, not exactly.

    Args:
        dataset: name of the dataset, the salt.
        names: file name of each record.
        n_pool: nominal public size of the whole.
        sizes: nominal records per side; their sum is ``n_pool``.

    Returns:
        Per side an int64 tensor of positions in ``names``, ascending.

    Raises:
        ConfigError: if a side is unknown or the sizes do not add up to ``n_pool``.
    """
    _check_sizes(dataset, n_pool, sizes)
    points = [int.from_bytes(salted_hash(dataset, name)[:8]) * n_pool for name in names]
    sides, start = {}, 0
    for side in SIDES:
        if side in sizes:
            end = start + (sizes[side] << 64)
            sides[side] = torch.tensor([n for n, point in enumerate(points) if start <= point < end], dtype=torch.int64)
            start = end
    return sides


def _check_sizes(dataset: str, n_pool: int, sizes: Mapping[str, int]) -> None:
    if unknown := sizes.keys() - set(SIDES):
        raise ConfigError(f"{dataset}: expected sides among {', '.join(SIDES)}, got {', '.join(sorted(unknown))}.")
    if sum(sizes.values()) != n_pool:
        raise ConfigError(f"{dataset}: expected sides that add up to {n_pool:,}, got {dict(sizes)}.")
