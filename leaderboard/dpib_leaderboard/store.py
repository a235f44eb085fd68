"""Where records live: a folder, or a dataset repository on the Hugging Face Hub. One protocol, one layout.

``<track>/<dataset>/<method>/<id16>/{record.json, ledger.jsonl, grid.png, images.parquet, review.json}`` plus built
``rows.parquet``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from dpib.errors import ConfigError, RecordError, StorageError
from dpib.files import SUBMISSIONS
from dpib.query import store_around
from dpib_leaderboard import limits
from dpib_leaderboard.entries import read_entries

HUB_PREFIX = "hf:"
LIGHT = ("record.json", "ledger.jsonl", "grid.png", limits.REVIEW)
"""Files of a record that a snapshot holds: all but the images."""


@dataclass(frozen=True)
class Snapshot:
    """A store as it was at one moment, on this disk.

    Attributes:
        commit: what it is pinned to; None for a folder.
        date: when it was fetched.
        stale: why it is not current, in words with its date; None if it is.
    """

    folder: Path
    commit: str | None
    date: str
    stale: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What a submission became: the place in a folder, or the address of a pull request."""

    address: str
    number: int | None = None


class Store(Protocol):
    """What the board, a submission and a review need of a store."""

    address: str

    def snapshot(self) -> Snapshot:
        """Return the newest state that can be had.

        Raises:
            StorageError: if there is none, not even an old one.
        """

    def account(self) -> str | None:
        """Return the account that a submission will be signed with, or None where there are no accounts.

        Raises:
            StorageError: if the credentials are missing or wrong.
        """

    def submit(self, folder: Path, place: str) -> Receipt:
        """Add one folder under ``place`` and nothing else, wholly or not at all."""

    def submissions(self) -> list[tuple[str, str, str]]:
        """Return (state, title, address) of what was submitted, newest first."""


class FolderStore:
    """A store in a folder; submissions are copied, for a maintainer to review.

    Args:
        folder: its root; made by the first submission.
        images: also copy ``images.parquet``; the copy in git omits it, the digest stays in the record.
    """

    def __init__(self, folder: Path, images: bool = True) -> None:
        self.folder, self.images, self.address = folder, images, str(folder)

    def check(self) -> None:
        """Look whether the folder is a store.

        Raises:
            ConfigError: if it does not exist, or is not the store but a folder in it or above it.
        """
        if not self.folder.is_dir():
            raise ConfigError(f"No results store at {self.folder}: give a folder, or hf:ORG/REPO for one on the Hub.")
        around = store_around(self.folder)
        if around is not None:
            raise ConfigError(f"{self.folder} is no results store, but {around} is: give that.")

    def snapshot(self) -> Snapshot:
        """Return the folder as it is."""
        return Snapshot(self.folder, None, datetime.now(UTC).isoformat(timespec="seconds"))

    def account(self) -> str | None:
        """Return None: folders have no accounts."""
        return None

    def submit(self, folder: Path, place: str) -> Receipt:
        """Copy a submission to its place by one rename.

        Raises:
            RecordError: if the place is taken.
            StorageError: if the folder cannot be written.
        """
        target = self.folder / place
        if target.exists():
            raise RecordError(f"{target} exists already; records are never overwritten.")
        files = [path for path in sorted(folder.iterdir()) if self.images or path.name != limits.IMAGES]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".incoming-", dir=target.parent) as scratch:
                incoming = Path(scratch) / "record"
                incoming.mkdir()
                for path in files:
                    shutil.copyfile(path, incoming / path.name)
                incoming.rename(target)
        except OSError as error:
            raise StorageError(f"Cannot write to {self.folder}: {error.strerror}. Nothing was added.") from error
        return Receipt(str(target))

    def submissions(self) -> list[tuple[str, str, str]]:
        """Return the records that lie here, with the state of their reviews.

        Raises:
            ConfigError: if this is no store.
        """
        self.check()
        found = []
        for one in read_entries(self.folder):
            review = one.review
            state = "unreviewed" if review is None else "accepted" if review.accepted else "refused"
            found.append(("invalidated" if review and review.invalidated else state, one.place, one.record.created))
        return found


def open_store(address: str | None, *, images: bool = True) -> Store:
    """Return the store at ``hf:ORG/REPO`` or in a folder; None is the one that ships with a checkout.

    Args:
        address: where it is.
        images: whether a folder keeps ``images.parquet``.

    Raises:
        ConfigError: if the address is malformed.
    """
    if address is None or not address.startswith(HUB_PREFIX):
        return FolderStore(Path(address) if address is not None else SUBMISSIONS, images)
    from dpib_leaderboard.hub import HubStore

    repo = address.removeprefix(HUB_PREFIX)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", repo, re.ASCII):
        raise ConfigError(f"Expected hf:ORG/REPO or a folder, got '{address}'.")
    return HubStore(repo)
