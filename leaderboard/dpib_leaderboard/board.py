"""The running board: holds the last good snapshot, rebuilds it in the background, finds the pieces of a record."""

from __future__ import annotations

import json
import logging
import shlex
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpib.errors import DpibError, RecordError
from dpib.files import write_text_atomically
from dpib.spec import RunSpec, sha256_text
from dpib_leaderboard.build import Builder
from dpib_leaderboard.entries import Entry, read_entry
from dpib_leaderboard.snapshot import SCHEMA, build_snapshot

MAX_LEDGER_BYTES = 1 << 20


def command_of(spec: RunSpec) -> str:
    """Return the command line that repeats a run: words of a shell, whatever a stranger's record says.

    Values of ``--set`` are JSON, which ``dpib.config.parse_override`` reads as what they were.
    """
    words = ["dpib", "run", spec.method, "--dataset", spec.dataset, "--epsilon", f"{spec.epsilon:g}"]
    words += ["--track", spec.track, "--seed", str(spec.seed)]
    if spec.public != "none":
        words += ["--public", spec.public]
    if spec.pretrain != "none":
        words += ["--pretrain", spec.pretrain]
    for prelude in spec.preludes:
        words += ["--prelude", prelude]
    if spec.variant is not None:
        words += ["--variant", spec.variant]
    for name, value in spec.overrides.items():
        words += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join(words)


def record_page(entry: Entry) -> dict[str, Any]:
    """Return everything about one record: the document, its ledger, its review and the command."""
    ledger = entry.path / "ledger.jsonl"
    lines: list[str] = []
    if ledger.is_file() and not ledger.is_symlink() and ledger.stat().st_size <= MAX_LEDGER_BYTES:
        lines = ledger.read_text(errors="replace").splitlines()
    return {
        "record": entry.record.model_dump(mode="json"),
        "level": entry.level,
        "refused": entry.refused,
        "spent_epsilon": entry.shown.privacy.spent_epsilon,
        "second_opinion": entry.shown.privacy.second_opinion,
        "scores": [score.model_dump(mode="json") for score in entry.shown.scores],
        "review": entry.review and entry.review.model_dump(mode="json"),
        "ledger": lines,
        "command": command_of(entry.record.task.spec),
        "grid": grid_of(entry) is not None,
    }


def grid_of(entry: Entry) -> Path | None:
    """Return the sample grid of a record, None where it has none."""
    grid = entry.path / "grid.png"
    return grid if grid.is_file() and not grid.is_symlink() else None


class Board:
    """The current snapshot of a store.

    Args:
        build: reads the store; may fail or be slow, as a Hub is.
        source: where the store is, for readers.
        kept: file that keeps the last good snapshot for the next start; None: nothing is kept.

    Attributes:
        snapshot: the last good one.
        problem: why it is not the newest, empty if it is.
        can_answer: False only until the first start on a store has tried to read it.
    """

    def __init__(self, build: Builder, source: str, kept: Path | None = None) -> None:
        self._build, self._source, self._kept = build, source, kept
        self._places: dict[str, Path] = {}
        self._lock = threading.Lock()
        self.problem = "The store is being read; reload in a moment."
        last_good = self._last_good()
        self.can_answer = last_good is not None
        self.snapshot: dict[str, Any] = last_good or build_snapshot([], source)

    def _last_good(self) -> dict[str, Any] | None:
        if self._kept is not None and self._kept.is_file():
            try:
                plain = json.loads(self._kept.read_text())
            except ValueError:
                plain = None
            if isinstance(plain, dict) and (plain.get("source"), plain.get("schema")) == (self._source, SCHEMA):
                return plain
        return None

    def refresh(self) -> bool:
        """Read the store again; on failure keep the last good snapshot and say why.

        Returns:
            Whether the store could be read.
        """
        try:
            with self._lock:
                return self._refresh()
        finally:
            self.can_answer = True

    def _refresh(self) -> bool:
        try:
            built = self._build()
        except (DpibError, OSError) as error:
            self.problem = f"The store does not answer ({type(error).__name__})."
            return False
        self._places, self.snapshot, self.problem = built.places, built.snapshot, built.stale
        if self._kept is not None:
            with suppress(OSError):
                write_text_atomically(self._kept, json.dumps(built.snapshot))
        return True

    def entry(self, identity: str) -> Entry | None:
        """Return the entry whose record id begins with these 16 or more digits, read from the disk."""
        folder = self._places.get(identity[:16])
        if folder is None:
            return None
        try:
            found = read_entry(folder)
        except RecordError:
            return None
        return found if found.record.id.startswith(identity) else None

    def entries(self) -> Iterator[Entry]:
        """Yield all entries of the current snapshot."""
        return (entry for identity in self._places if (entry := self.entry(identity)))

    def watch(self, seconds: float, stop: threading.Event) -> None:
        """Refresh now and then every ``seconds`` in a thread of its own, until ``stop`` is set."""

        def loop() -> None:
            while True:
                try:
                    self.refresh()
                except Exception:
                    logging.getLogger(__name__).exception("the board could not be rebuilt")
                    self.problem = "The board could not be rebuilt."
                if stop.wait(seconds):
                    return

        threading.Thread(target=loop, daemon=True, name="board refresh").start()


def kept_file(source: str) -> Path:
    """Return where the last good snapshot of a store is kept for the next start."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "dpib" / f"board-{sha256_text(source)[:16]}.json"
