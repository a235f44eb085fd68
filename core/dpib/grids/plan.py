"""What of a grid is done, running, missing or impossible here, and what the missing part will cost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dpib import catalogue
from dpib.data.sources import locate
from dpib.dataset_spec import DatasetSpec
from dpib.errors import DpibError, UnknownName
from dpib.files import SUBMISSIONS, is_held
from dpib.grids.grid import Grid, Unit
from dpib.grids.past import Estimate, Past, PastRun
from dpib.job import Job, prepare
from dpib.spec import RunSpec
from dpib.workspace import Workspace

Standing = Literal["done", "running", "missing", "impossible"]


@dataclass(frozen=True)
class Planned:
    """One run of a grid and how it stands.

    Attributes:
        reason: why it is impossible here; for a record that does not count as done, why.
        begun: its folder holds work that will be continued.
        pretraining: what it shares with other runs of the same pretraining; None: it shares none.
    """

    unit: Unit
    standing: Standing
    reason: str = ""
    begun: bool = False
    estimate: Estimate = field(default_factory=Estimate)
    pretraining: str | None = None


@dataclass(frozen=True)
class Pretraining:
    """One pretraining that the missing runs need and that no finished run of the grid has made here.

    Attributes:
        runs: how many of them share it.
        seconds: None if no recorded run made one like it.
    """

    name: str
    runs: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """A grid as it stands here.

    Attributes:
        left_out: ids of records of its runs that do not count: made with other settings, refused or withdrawn.
    """

    grid: Grid
    units: tuple[Planned, ...]
    pretrainings: tuple[Pretraining, ...]
    left_out: frozenset[str] = frozenset()

    def standing(self, *wanted: Standing) -> list[Planned]:
        """Return the units that stand so."""
        return [one for one in self.units if one.standing in wanted]

    @property
    def seconds(self) -> float:
        """Estimated computing time of what is missing, each shared pretraining once, as far as it is known."""
        runs = sum(one.estimate.seconds or 0.0 for one in self.standing("missing"))
        return runs + sum(one.seconds or 0.0 for one in self.pretrainings)

    @property
    def unknown(self) -> int:
        """How many missing units have no estimate."""
        return sum(one.estimate.seconds is None for one in self.standing("missing"))

    @property
    def memory_bytes(self) -> int | None:
        """Largest estimated memory of a missing unit; None if none is known."""
        return max((one.estimate.memory_bytes or 0 for one in self.standing("missing")), default=0) or None

    def reasons(self) -> Counter[str]:
        """Return why units are impossible, with how many are."""
        return Counter(one.reason for one in self.standing("impossible"))


def make_plan(
    grid: Grid,
    runs: Path,
    data_dir: Path | None = None,
    device: str = "auto",
    also: Iterable[Path] = (),
    *,
    cluster: bool = False,
) -> Plan:
    """Look at what there is; nothing is loaded, trained or fetched.

    Args:
        grid: what is asked for.
        runs: folder of run folders.
        data_dir: folder of data mirrors; else ``DPIB_DATA``, else the Hub.
        device: as for ``dpib run``.
        also: results stores whose complete records count as done.
        cluster: runs go to other machines; whether those have a GPU cannot be seen from here.
    """
    also = tuple(also)
    there = Past((*also, runs))
    known = Past((SUBMISSIONS,), there)
    possible = _Possible(data_dir, device, cluster)
    units, left_out = [], set[str]()
    for unit in grid.units:
        found = [(run, possible.objection(unit, run)) for run in there.of(unit.spec)]
        left_out |= {run.id for run, objection in found if objection}
        if any(run.complete and not objection for run, objection in found):
            units.append(Planned(unit, "done"))
            continue
        reason, pretraining = possible.judge(unit)
        workspace = Workspace(runs, unit.spec)
        begun = workspace.folder.is_dir()
        running = begun and is_held(workspace.folder)
        if begun and not (running or reason):
            ours = next((objection for run, objection in found if run.path == workspace.record_path), "")
            reason = workspace.holds(ours) if ours else possible.judge_begun(unit, workspace)
        standing: Standing = "impossible" if reason else "running" if running else "missing"
        if found and not reason:
            partial = any(not objection for _, objection in found)
            reason = "its record lacks a score" if partial else f"its record is of a run {found[-1][1]}"
        estimate = known.estimate(unit.spec, possible.device(unit))
        units.append(Planned(unit, standing, reason, begun, estimate, pretraining))
    missing = [one for one in units if one.standing == "missing" and one.pretraining]
    if missing:
        here = [one for one in units if one.standing == "done" and there.is_below(runs, one.unit.spec)]
        made = {possible.judge(one.unit)[1] for one in here}
        missing = [one for one in missing if one.pretraining not in made]
    shared = Counter(one.pretraining for one in missing)
    first = {one.pretraining: one.unit for one in reversed(missing)}
    pretrainings = tuple(
        Pretraining(
            f"{unit.spec.method} on {unit.spec.public}",
            shared[key],
            known.pretraining(unit.spec, possible.device(unit)),
        )
        for key, unit in first.items()
    )
    return Plan(grid, tuple(units), pretrainings, frozenset(left_out))


class _Possible:
    """Whether units can run here; what units have in common is looked at once."""

    def __init__(self, data_dir: Path | None, device: str, cluster: bool) -> None:
        self._data_dir, self._device, self._cluster = data_dir, device, cluster
        self._jobs: dict[str, Job | str] = {}
        self._verdicts: dict[str, tuple[str, str | None]] = {}
        self._data: dict[str, str] = {}
        self._gpu: bool | None = None

    def judge(self, unit: Unit) -> tuple[str, str | None]:
        """Return why a unit is impossible, empty if it is not, and the name of its pretraining."""
        key = _but_for_the_seed(unit.spec)
        if key not in self._verdicts:
            self._verdicts[key] = self._look(unit.spec)
        reason, pretraining = self._verdicts[key]
        if not reason and unit.needs_gpu and not self._has_gpu():
            reason = "needs a GPU; there is none here"
        return reason, pretraining

    def objection(self, unit: Unit, run: PastRun) -> str:
        """Return why a recorded run does not count; empty if it does, or if nobody here knows its settings."""
        if run.taken_back:
            return "that was refused or withdrawn"
        job = self._job(unit.spec)
        return "" if isinstance(job, str) else job.unlike(run.settings)

    def judge_begun(self, unit: Unit, workspace: Workspace) -> str:
        """Return why what is in the unit's folder cannot be continued by this code; empty if it can.

        The device is not compared: it is chosen when the run is.
        """
        try:
            begun = workspace.begun()
            if begun is not None:
                workspace.check_continues(begun, prepare(unit.spec).plan(begun.device))
        except DpibError as error:
            return str(error)
        return ""

    def device(self, unit: Unit) -> str:
        """Return the kind of device that a unit will run on; on a cluster, a GPU only for one that needs it."""
        wanted = unit.needs_gpu if self._cluster and self._device == "auto" else self._has_gpu()
        return "cuda" if wanted and self._device != "cpu" else "cpu"

    def _job(self, spec: RunSpec) -> Job | str:
        """Return a run's job, or why there can be none here."""
        key = _but_for_the_seed(spec)
        if key not in self._jobs:
            self._jobs[key] = _prepared(spec)
        return self._jobs[key]

    def _look(self, spec: RunSpec) -> tuple[str, str | None]:
        job = self._job(spec)
        if isinstance(job, str):
            return job, None
        reasons = (self._absent(job.dataset), self._absent(job.public) if job.public else "", _absent_weights(job))
        return next(filter(None, reasons), ""), job.shared_pretraining()

    def _absent(self, dataset: DatasetSpec) -> str:
        if dataset.name not in self._data:
            try:
                place = locate(dataset, self._data_dir)
                offline = place.kind == "hub" and os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
                reason = f"dataset absent: {dataset.name} (offline)" if offline else ""
            except DpibError as error:
                reason = f"dataset absent: {error}"
            self._data[dataset.name] = reason
        return self._data[dataset.name]

    def _has_gpu(self) -> bool:
        if self._cluster or self._device.startswith("cuda"):
            return True
        if self._gpu is None:
            import torch

            self._gpu = self._device == "auto" and torch.cuda.is_available()
        return self._gpu


def _but_for_the_seed(spec: RunSpec) -> str:
    """Return what specs have in common that differ in nothing but a seed that changes no setting and no data."""
    return (spec if spec.draws else spec.model_copy(update={"seed": 0})).canonical()


def _prepared(spec: RunSpec) -> Job | str:
    try:
        catalogue.method(spec.method)
    except UnknownName:
        return f"method not installed: {spec.method}"
    except DpibError as error:
        return str(error)
    try:
        return prepare(spec)
    except UnknownName as error:
        return f"not installed: {error.kind} {error.name}"
    except DpibError as error:
        return str(error)


def _absent_weights(job: Job) -> str:
    """Return which weights of the track's features can neither be found nor fetched; empty if none."""
    features = job.track.features
    if features is None or features.extractor != "inception" or os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        return ""
    from dpib.metrics.inception import WEIGHTS

    return "" if WEIGHTS.path.exists() else f"weights absent: {WEIGHTS.path} (offline)"
