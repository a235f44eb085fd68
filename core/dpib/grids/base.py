"""What a runner is: it takes tasks and yields outcomes; where and how is its affair. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from dpib.errors import ConfigError
from dpib.progress import RunEvent
from dpib.spec import Frozen, Name, RunSpec

State = Literal["done", "failed", "timed-out", "out-of-memory", "killed", "busy", "interrupted"]


@dataclass(frozen=True)
class Task:
    """One run to do, as plain values, so that it can travel.

    Attributes:
        name: in words.
        runs: folder of run folders; every machine that runs tasks must see it under this path.
        data_dir: folder of data mirrors; None: ``DPIB_DATA``, else the Hub.
        plugins: single-file plugins to load first.
        gpus: how many it needs.
        memory_bytes: how much recorded runs like it took; None if unknown.
        timeout_seconds: it is ended, with all its processes, after that long, all attempts together; it can be
            resumed.
    """

    name: str
    spec: Mapping[str, Any]
    runs: str
    data_dir: str | None = None
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    gpus: int = 0
    memory_bytes: int | None = None
    timeout_seconds: float | None = None

    @property
    def digest(self) -> str:
        """Digest of the spec: what a task is known by."""
        return RunSpec.from_plain(self.spec).digest

    @property
    def log(self) -> Path:
        """Where its output goes; added to by every attempt."""
        spec = RunSpec.from_plain(self.spec)
        return notes_folder(Path(self.runs)) / "logs" / f"{spec.track}-{spec.dataset}-{spec.method}-{spec.run_id}.log"


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        state: ``killed``: its process was ended from outside; ``busy``: another process holds its run folder.
        record: id of the record, if done.
        seconds: wall time of all attempts.
        peak_bytes: peak memory of its process, if known.
        attempts: how often it was started.
    """

    digest: str
    name: str
    state: State
    message: str = ""
    traceback: str = ""
    record: str = ""
    seconds: float = 0.0
    peak_bytes: int | None = None
    attempts: int = 1


@dataclass(frozen=True)
class RunnerSettings:
    """How a runner shall work.

    Attributes:
        jobs: how many tasks at a time at most; None: the runner's choice.
        address: of a cluster, for runners that have one.
    """

    jobs: int | None = None
    address: str | None = None


class Job(Protocol):
    """Work that leaves nothing on disk, such as a few games of an audit: picklable, and picklable its result."""

    def work(self) -> Any:
        """Do it."""


OnDone = Callable[[Any], None]
"""Told a job that is done."""

OnEvent = Callable[[str, RunEvent], None]
"""Told the digest of a task and what happens in it."""


class Runner(ABC):
    """Does tasks.

    Args:
        settings: how.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
        """Yield one outcome per task, as they come; one that fails must not stop others.

        When the generator is closed, by Ctrl-C for one, everything it started must end: a run can be killed at any
        moment and continues with the next call.

        Args:
            tasks: no two with one run folder.
            on_event: may be called from any thread.

        Raises:
            DpibError: if nothing can be run at all.
        """

    def compute(self, jobs: Sequence[Job], plugins: Sequence[Path], on_done: OnDone) -> list[Any]:  # noqa: ARG002
        """Return the result of every job, in order; one that fails ends all. A runner need not offer this.

        Args:
            jobs: the longest should come first.
            plugins: single-file plugins to load first.
            on_done: told each job that is done, from this thread.

        Raises:
            DpibError: what a job raised.
            ConfigError: if this runner only does runs.
        """
        raise ConfigError("This runner does runs of grids only. Use another with --runner, such as local.")


class RunnerCard(Frozen):
    """What a runner says about itself.

    Attributes:
        needs: what must be installed, in words; empty if nothing beyond dpib.
    """

    name: Name
    summary: str
    needs: str = ""


@dataclass(frozen=True)
class RunnerPlugin:
    """A runner as a plugin registers it. Building one imports nothing heavy.

    Attributes:
        implementation: dotted path ``"package.module:Class"`` of a ``Runner``.
    """

    card: RunnerCard
    implementation: str = field(default="")


def notes_folder(runs: Path) -> Path:
    """Return the folder below a runs folder that holds logs and notes on failures."""
    return runs / ".grid"
