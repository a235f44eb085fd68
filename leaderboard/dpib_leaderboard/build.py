"""From a store to what a board serves, here or in a process of its own so that a running board never waits for it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpib.errors import StorageError
from dpib_leaderboard.entries import read_entries
from dpib_leaderboard.snapshot import build_snapshot
from dpib_leaderboard.store import FolderStore, Store, open_store


@dataclass(frozen=True)
class Built:
    """A snapshot, and where on this disk its records lie.

    Attributes:
        snapshot: see ``snapshot.build_snapshot``.
        places: folder of every record, by the first 16 digits of its id.
        stale: why the store is not as it is now, empty if it is.
    """

    snapshot: dict[str, Any]
    places: dict[str, Path]
    stale: str = ""


Builder = Callable[[], Built]
"""Reads a store and builds; raises DpibError or OSError if it cannot be read."""


def source_of(address: str | None) -> str:
    """Return how readers of a board see where its store is: a folder by its name only.

    Raises:
        ConfigError: if the folder is no store or the address is malformed.
    """
    store = open_store(address)
    if not isinstance(store, FolderStore):
        return store.address
    if address is not None:
        store.check()
    return store.folder.name


def build(store: Store, source: str) -> Built:
    """Read a store and build its board.

    Args:
        store: where the records are.
        source: see ``source_of``.

    Raises:
        StorageError: if not even an old state of the store can be had.
    """
    state = store.snapshot()
    entries = read_entries(state.folder)
    places = {entry.record.id[:16]: entry.path for entry in entries}
    return Built(build_snapshot(entries, source, state.date), places, state.stale or "")


def _build(address: str | None, source: str) -> Built:
    return build(open_store(address), source)


def builder(address: str | None) -> Builder:
    """Return what builds the board of a store in a process of its own."""
    source = source_of(address)

    def run() -> Built:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                return pool.submit(_build, address, source).result()
            except BrokenProcessPool as error:
                raise StorageError("The process that reads the store died.") from error

    return run
