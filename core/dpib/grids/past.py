"""What records say about runs that are done, read fast: ten thousand of them in seconds. Imports no torch.

Nothing is verified here; ``dpib.records.load_record`` does that for whoever reads a record's numbers.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dpib.errors import RecordError
from dpib.progress import PRETRAIN_STAGE, WAIT_STAGE
from dpib.records import is_taken_back, settings_of
from dpib.spec import RunSpec

FOUND_MADE_SECONDS = 1.0
"""A run whose pretraining took no longer found it made, and does not tell what making it takes."""


@dataclass(frozen=True)
class PastRun:
    """One recorded run: with which settings, and its cost.

    Attributes:
        settings: see ``settings_of``.
        taken_back: see ``is_taken_back``.
        complete: every metric of the track has a value.
        seconds: in all, without pretraining, and without waiting for another run that made it.
        pretrain_seconds: spent on pretraining.
        device: ``"cpu"`` or ``"cuda"``.
    """

    id: str
    spec: RunSpec
    settings: Mapping[str, Any]
    taken_back: bool
    complete: bool
    seconds: float
    pretrain_seconds: float
    memory_bytes: int
    device: str
    path: Path


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take; None where no recorded run is like it.

    Attributes:
        runs: how many recorded runs it rests on.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    runs: int = 0


def read_past_run(path: Path) -> PastRun | None:
    """Return what a record tells about its run; None if it cannot be read."""
    try:
        document: Mapping[str, Any] = json.loads(path.read_bytes())
        cost = document["cost"]
        pretraining, waiting = (float(cost["seconds"].get(stage, 0.0)) for stage in (PRETRAIN_STAGE, WAIT_STAGE))
        return PastRun(
            id=str(document["id"]),
            spec=RunSpec.from_plain(document["task"]["spec"]),
            settings=settings_of(document["method"]),
            taken_back=is_taken_back(path.parent, str(document["id"]), document.get("invalidated")),
            complete=document["status"] == "complete",
            seconds=max(float(cost["total_seconds"]) - pretraining - waiting, 0.0),
            pretrain_seconds=pretraining,
            memory_bytes=int(cost["peak_memory_bytes"]),
            device=str(cost["device"]).partition(":")[0],
            path=path,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError, RecordError):
        return None


class Past:
    """Recorded runs below some folders, looked up by spec and by likeness.

    Args:
        folders: of runs, or results stores; those that are not there hold nothing. Of several records of a spec the
            last tells the cost.
        more: runs that were read already come after those.
    """

    def __init__(self, folders: Iterable[Path], more: Past | None = None) -> None:
        read = (read_past_run(path) for folder in folders for path in sorted(folder.glob("*/*/*/*/record.json")))
        found = [run for run in read if run is not None]
        found += [run for runs in more._of.values() for run in runs] if more else []
        self._of: dict[str, list[PastRun]] = defaultdict(list)
        for run in {run.id: run for run in found}.values():
            self._of[run.spec.canonical()].append(run)
        self._alike: dict[tuple[object, ...], list[PastRun]] = defaultdict(list)
        for *_, run in self._of.values():
            for kind in _kinds(run.spec):
                self._alike[kind].append(run)
                self._alike[run.device, *kind].append(run)

    def of(self, spec: RunSpec) -> Sequence[PastRun]:
        """Return the recorded runs of this very spec: several where presets changed, or one was made in two places.

        A record that lies in two folders comes once, from the last.
        """
        return self._of.get(spec.canonical(), ())

    def is_below(self, folder: Path, spec: RunSpec) -> bool:
        """Return whether a recorded run of this very spec lies below a folder."""
        return any(run.path.is_relative_to(folder) for run in self.of(spec))

    def estimate(self, spec: RunSpec, device: str) -> Estimate:
        """Return the median time and the largest memory of the recorded runs that are most like a spec.

        Alike are runs of the same method on the same track: those with the same dataset, variant, preludes, public data
        and overrides if there are any, else those on the dataset, else all of them; runs on the same kind of device,
        ``"cpu"`` or ``"cuda"``, if there is one at all, else on the other.
        """
        kinds = _kinds(spec)
        runs = next(filter(None, map(self._alike.get, [(device, *kind) for kind in kinds] + list(kinds))), None)
        if runs is None:
            return Estimate()
        seconds = statistics.median(run.seconds for run in runs)
        return Estimate(seconds, max(run.memory_bytes for run in runs), len(runs))

    def pretraining(self, spec: RunSpec, device: str) -> float | None:
        """Return the longest pretraining of recorded runs alike: that of the run that made it; None if unknown.

        On the same kind of device if any made it there, else on the other.
        """
        fine = _kinds(spec)[0]
        for runs in (self._alike.get((device, *fine), ()), self._alike.get(fine, ())):
            longest = max((run.pretrain_seconds for run in runs), default=0.0)
            if longest > FOUND_MADE_SECONDS:
                return longest
        return None


def _kinds(spec: RunSpec) -> tuple[tuple[object, ...], ...]:
    """Return what a run is known as, the most particular first."""
    coarse = (spec.track, spec.method)
    closer = (*coarse, spec.dataset)
    fine = (*closer, spec.public, spec.pretrain, spec.preludes, spec.variant, tuple(sorted(spec.overrides.items())))
    return fine, closer, coarse
