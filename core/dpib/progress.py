"""What a run tells while it works: events for observers, bars on a terminal, timed lines elsewhere. No torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TextIO

LINE_EVERY_SECONDS = 10.0
PRETRAIN_STAGE = "public pretraining"
"""Stage around whatever runs share: its seconds are no part of what the next run will take."""
WAIT_STAGE = "wait for pretraining"
"""Stage while another run makes what both share: no part of what a run costs."""


@dataclass(frozen=True)
class RunEvent:
    """One thing that happened in a run; carries nothing computed from private data.

    Attributes:
        stage: what is being done, in words, e.g. ``"fit generator"``.
        done: units finished; ``total`` None when unknown.
        seconds: since the stage began.
    """

    kind: Literal["started", "advanced", "finished", "skipped", "note"]
    stage: str
    done: int = 0
    total: int | None = None
    seconds: float = 0.0
    message: str = ""


Observer = Callable[[RunEvent], None]


class Task:
    """Progress of one stage; obtained from ``Reporter.task``."""

    def __init__(self, emit: Observer, stage: str, total: int | None) -> None:
        self._emit, self.stage, self.total = emit, stage, total
        self.done = 0
        self._start = time.monotonic()

    def advance(self, by: int = 1, message: str = "") -> None:
        """Count ``by`` units as done."""
        self.update(self.done + by, message)

    def update(self, done: int, message: str = "") -> None:
        """Set the number of units done."""
        self.done = done
        self._emit(RunEvent("advanced", self.stage, done, self.total, time.monotonic() - self._start, message))


class Reporter:
    """Hands events to every observer."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def emit(self, event: RunEvent) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer(event)

    def note(self, message: str, stage: str = "") -> None:
        """Say one thing."""
        self.emit(RunEvent("note", stage, message=message))

    def skipped(self, stage: str, reason: str) -> None:
        """Say that a stage was found done."""
        self.emit(RunEvent("skipped", stage, message=reason))

    @contextmanager
    def task(self, stage: str, total: int | None = None) -> Iterator[Task]:
        """Report a stage from start to finish."""
        start = time.monotonic()
        self.emit(RunEvent("started", stage, 0, total))
        task = Task(self.emit, stage, total)
        yield task
        self.emit(RunEvent("finished", stage, task.done, total, time.monotonic() - start))


class PlainLines:
    """Observer for logs: a timed line when a stage starts and ends and every ten seconds between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._began = time.monotonic()
        self._last = 0.0

    def __call__(self, event: RunEvent) -> None:
        """Print the event if it is due."""
        now = time.monotonic()
        if event.kind == "advanced" and now - self._last < LINE_EVERY_SECONDS:
            return
        self._last = now
        text = {
            "started": f"{event.stage} ...",
            "advanced": f"{event.stage}: {event.done}/{event.total or '?'} {event.message}",
            "finished": f"{event.stage}: done in {event.seconds:.1f} s",
            "skipped": f"{event.stage}: {event.message}",
            "note": event.message,
        }[event.kind]
        print(f"[{now - self._began:7.1f} s] {text.rstrip()}", file=self._stream, flush=True)


class Bars:
    """Observer for terminals: one Rich bar per stage. Use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Remaining(compact=True),
            TextColumn("{task.fields[message]}"),
            console=Console(stderr=True),
        )
        self._bars: dict[str, int] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Draw the event."""
        from rich.progress import TaskID

        if event.kind in ("note", "skipped"):
            text = event.message if event.kind == "note" else f"{event.stage}: {event.message}"
            self._progress.console.print(text, style="dim", highlight=False)
            return
        if event.kind == "started":
            self._bars[event.stage] = self._progress.add_task(event.stage, total=event.total, message="")
        bar = TaskID(self._bars[event.stage])
        if event.kind == "finished":
            total = event.total or max(event.done, 1)
            self._progress.update(bar, total=total, completed=total, message="")
            self._progress.stop_task(bar)
        else:
            self._progress.update(bar, completed=event.done, message=event.message)


@contextmanager
def terminal_reporter(quiet: bool = False, *others: Observer) -> Iterator[Reporter]:
    """Yield a reporter that draws bars on a terminal, prints timed lines elsewhere, or only tells ``others``."""
    if quiet:
        yield Reporter(*others)
    elif sys.stderr.isatty():
        with Bars() as bars:
            yield Reporter(bars, *others)
    else:
        yield Reporter(PlainLines(), *others)
