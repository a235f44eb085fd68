"""Progress of many runs on stderr: bars on a terminal, a line per start and end elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from dpib.grids.base import Outcome
from dpib.progress import RunEvent


class Display(Protocol):
    """Shows what happens; safe to call from threads."""

    def event(self, digest: str, event: RunEvent) -> None:
        """Show what happens in a run."""

    def finished(self, outcome: Outcome) -> None:
        """Show what became of a run."""


class Quiet:
    """Shows nothing."""

    def event(self, digest: str, event: RunEvent) -> None:
        """Show nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Show nothing."""


class Lines:
    """For logs: one line when a run starts and one when it ends.

    Args:
        names: digest -> run in words.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names, self._begun = names, set[str]()
        self._began, self._done = time.monotonic(), 0
        self._lock = threading.Lock()

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:7.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201

    def event(self, digest: str, event: RunEvent) -> None:
        """Say that a run starts, and what it notes."""
        with self._lock:
            if digest not in self._begun:
                self._begun.add(digest)
                self._say(f"{self._names[digest]} ...")
            if event.kind == "note" and not event.stage:
                self._say(f"{self._names[digest]}: {event.message}")

    def finished(self, outcome: Outcome) -> None:
        """Say what became of a run."""
        with self._lock:
            self._done += 1
            text = f"{outcome.state} in {outcome.seconds:.1f} s"
            told = "" if outcome.state == "done" else f": {outcome.message}"
            self._say(f"[{self._done}/{len(self._names)}] {outcome.name}: {text}{told}")


class Bars:
    """For terminals: one bar for the grid and one per run that is under way.

    Args:
        names: digest -> run in words.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        self._names = names
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[stage]}"),
            console=Console(stderr=True),
        )
        self._all = self.progress.add_task("runs", total=len(names), stage="")
        self._bars: dict[str, TaskID] = {}
        self._failed = 0
        self._lock = threading.Lock()

    def event(self, digest: str, event: RunEvent) -> None:
        """Move a run's bar."""
        with self._lock:
            if digest not in self._bars:
                self._bars[digest] = self.progress.add_task(self._names[digest], total=None, stage="")
            bar = self._bars[digest]
            if event.kind == "note":
                self.progress.console.print(f"{self._names[digest]}: {event.message}", style="dim", highlight=False)
            elif event.kind in ("started", "advanced"):
                self.progress.update(bar, total=event.total, completed=event.done, stage=event.stage)

    def finished(self, outcome: Outcome) -> None:
        """Move the grid's bar and take away the run's."""
        with self._lock:
            if outcome.digest in self._bars:
                self.progress.remove_task(self._bars.pop(outcome.digest))
            self._failed += outcome.state != "done"
            self.progress.update(self._all, advance=1, stage=f"{self._failed} failed" if self._failed else "")
            if outcome.state != "done":
                text = f"{outcome.name}: {outcome.state}: {outcome.message}"
                self.progress.console.print(text, style="red", highlight=False)


@contextmanager
def display_of(names: Mapping[str, str], quiet: bool = False) -> Iterator[Display]:
    """Yield what shows the progress of these runs here."""
    if quiet:
        yield Quiet()
    elif sys.stderr.isatty():
        bars = Bars(names)
        with bars.progress:
            yield bars
    else:
        yield Lines(names)
