"""How a method works: its device, seeds, progress, and state that survives a crash. Never what it works on."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch

from dpib.errors import RunError
from dpib.files import write_atomically
from dpib.progress import Reporter
from dpib.seeds import Seeds

CHECKPOINT_EVERY_SECONDS = 30.0
T = TypeVar("T")
_SUFFIX = ".pt"


class Stateful(Protocol):
    """Anything a checkpoint can hold: modules, optimizers, schedulers, moving averages."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers, strings and containers of them."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore a state."""


@runtime_checkable
class Durable(Stateful, Protocol):
    """A part of a checkpoint that is told when its state is on disk."""

    def saved(self) -> None:
        """Take note that the latest ``state_dict`` is on disk."""


START_ANEW = "Delete the run folder to start anew."
"""What to do about a damaged state of a run."""
HIDDEN = "hidden"
"""Folder below a run's state where the harness keeps private values of an unfinished run."""


def save_state(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write tensors, numbers, strings, or lists and dicts of them, whole or not at all."""
    write_atomically(path, lambda file: torch.save(value, file), mode)


def load_state(path: Path, device: str, remedy: str = START_ANEW) -> Any:
    """Read what ``save_state`` wrote.

    Args:
        path: the file.
        device: where tensors go.
        remedy: what to do if it cannot be read.

    Raises:
        RunError: if the file is damaged or holds something else.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise RunError(f"Cannot read the saved state {path}: {error}. {remedy}") from error


def forget_hidden(state: Path) -> None:
    """Delete the private values below a run's state folder, as the secret of the noise is deleted."""
    shutil.rmtree(state / HIDDEN, ignore_errors=True)


class RunContext:
    """Handed to a method by the harness.

    Attributes:
        device: torch device the run uses.
        seeds: public randomness.
        reporter: where progress goes.
    """

    def __init__(self, folder: Path, device: str, seeds: Seeds, reporter: Reporter, remedy: str = START_ANEW) -> None:
        self.device, self.seeds, self.reporter = device, seeds, reporter
        self._folder, self._remedy = folder, remedy
        self._paths: set[Path] = set()

    @property
    def hidden_folder(self) -> Path:
        """Where mechanisms of the harness keep private values until the run is finished; not for methods."""
        return self._folder / HIDDEN

    def within(self, name: str) -> Self:
        """Return a context whose state lies in a folder of its own inside this one's; everything else is shared."""
        folder = self._path(name, "")
        return type(self)(folder, self.device, self.seeds, self.reporter, self._remedy)

    def _path(self, name: str, suffix: str = _SUFFIX) -> Path:
        path = self._file(name, suffix)
        if path in self._paths:
            raise RunError(f"Two pieces of state are kept as '{path.name}' ('{name}'). Give each its own name.")
        self._paths.add(path)
        return path

    def _file(self, name: str, suffix: str = _SUFFIX) -> Path:
        return self._folder / (name.replace(" ", "-").replace("/", "-") + suffix)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return ``compute()``, computed once per run and found again after a crash.

        Args:
            name: unique in the run.
            compute: returns tensors, numbers, strings, or lists and dicts of them.
        """
        path = self._path(name)
        if path.exists():
            self.reporter.skipped(name, "found")
        else:
            save_state(path, compute())
        value: T = load_state(path, self.device, self._remedy)
        return value

    def recall(self, name: str) -> Any:
        """Return what ``once`` stored under this name in this or an earlier process; None if nothing was."""
        path = self._file(name)
        return load_state(path, self.device, self._remedy) if path.exists() else None

    def steps(self, name: str, total: int, carry: Mapping[str, Stateful]) -> Iterator[int]:
        """Yield step numbers of a loop that continues where an earlier process was stopped.

        Saves ``carry`` every 30 seconds and at the end; a finished loop restores it and yields nothing. Inside a
        step torch's global generator is a function of the run's seed, the name and the step.

        Args:
            name: unique in the run; shown as the progress label.
            total: number of steps.
            carry: everything that changes from step to step.
        """
        path = self._path(name)
        first = self._restore(path, carry) if path.exists() else 0
        if first >= total:
            self.reporter.skipped(name, "found")
            return
        saved_at = time.monotonic()
        with self.reporter.task(name, total) as task:
            task.update(first)
            for step in range(first, total):
                with self.seeds.init(name, step):
                    yield step
                task.update(step + 1)
                if time.monotonic() - saved_at > CHECKPOINT_EVERY_SECONDS or step + 1 == total:
                    self._checkpoint(path, step + 1, carry)
                    saved_at = time.monotonic()

    @staticmethod
    def _checkpoint(path: Path, step: int, carry: Mapping[str, Stateful]) -> None:
        save_state(path, {"step": step, "carry": {key: part.state_dict() for key, part in carry.items()}})
        for part in carry.values():
            if isinstance(part, Durable):
                part.saved()

    def _restore(self, path: Path, carry: Mapping[str, Stateful]) -> int:
        state = load_state(path, self.device, self._remedy)
        if set(state["carry"]) != set(carry):
            raise RunError(f"The checkpoint {path} holds {sorted(state['carry'])}, the method expects {sorted(carry)}.")
        for key, part in carry.items():
            part.load_state_dict(state["carry"][key])
        return int(state["step"])
