"""From ``--store`` to a reader: a folder, a Hub dataset repository, or what ships with the checkout."""

from __future__ import annotations

from pathlib import Path

from dpib.errors import ConfigError, StorageError
from dpib.spec import sha256_text
from dpib_leaderboard.board import folder_reader
from dpib_leaderboard.entries import Entry, Reader

HUB_PREFIX = "hf:"
HUB_SECONDS = 10.0
EMBEDDED = Path(__file__).parents[2] / "submissions"
"""The store of a checkout; absent from an installed wheel, where the paper's rows remain."""

PATTERNS = ["*/*/*/*/record.json", "*/*/*/*/ledger.jsonl", "*/*/*/*/grid.png", "*/*/*/*/review.json"]


def hub_reader(repo: str) -> Reader:
    """Return a reader of a Hub dataset repository: what is new is downloaded, synthetic sets are not."""

    def read() -> list[Entry]:
        import httpx2
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(repo, repo_type="dataset", allow_patterns=PATTERNS, etag_timeout=HUB_SECONDS)
        except (OSError, ValueError, httpx2.HTTPError) as error:
            raise StorageError(f"{HUB_PREFIX}{repo} cannot be read: {type(error).__name__}.") from error
        return list(folder_reader(Path(folder))())

    return read


def open_store(store: str | None) -> tuple[Reader, str]:
    """Return a reader and how the board names its source.

    Args:
        store: a folder, ``hf:ORG/REPO``, or None for the embedded store.

    Raises:
        ConfigError: if there is no such folder or the repository's name is malformed.
    """
    if store is None:
        return folder_reader(EMBEDDED), "submissions"
    if store.startswith(HUB_PREFIX):
        repo = store.removeprefix(HUB_PREFIX)
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise ConfigError(f"Expected hf:ORG/REPO, got {store!r}.")
        return hub_reader(repo), store
    folder = Path(store)
    if not folder.is_dir():
        raise ConfigError(f"No results store at {folder}: give a folder, or hf:ORG/REPO for one on the Hub.")
    return folder_reader(folder), folder.name


def kept_file(store: str | None) -> Path:
    """Return where the last good snapshot of a store is kept for the next start."""
    from huggingface_hub.constants import HF_HOME

    hub = store is not None and store.startswith(HUB_PREFIX)
    key = str(store) if hub else str(Path(store or EMBEDDED).resolve())
    return Path(HF_HOME) / "dpib" / f"board-{sha256_text(key)[:16]}.json"
