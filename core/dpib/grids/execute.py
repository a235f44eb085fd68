"""Does what is missing of a plan through a runner, and keeps notes on what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from dpib import catalogue
from dpib.errors import PluginError
from dpib.files import write_text_atomically
from dpib.grids.base import OnEvent, Outcome, Runner, RunnerSettings, Task, notes_folder
from dpib.grids.plan import Plan, Planned
from dpib.loading import resolve


def make_runner(name: str, settings: RunnerSettings) -> Runner:
    """Return a runner by name.

    Raises:
        UnknownName: if nobody brings it.
        PluginError: if it cannot be imported, for one because what it needs is not installed.
    """
    plugin = catalogue.runner(name)
    try:
        found = resolve(plugin.implementation)
    except PluginError as error:
        mend = f" It needs: {plugin.card.needs}." if plugin.card.needs else ""
        raise PluginError(f"The runner '{name}' cannot be used: {error}{mend}") from error
    if not (isinstance(found, type) and issubclass(found, Runner)):
        raise PluginError(f"'{plugin.implementation}' is not a Runner; got {found!r}.")
    return found(settings)


def tasks_of(
    plan: Plan,
    runs: Path,
    data_dir: Path | None = None,
    device: str = "auto",
    plugins: Sequence[Path] = (),
    timeout_minutes: float | None = None,
) -> list[Task]:
    """Return the missing runs as tasks, in an order in which few wait for a pretraining that another makes.

    The first run of each shared pretraining, then the runs that share none, then the others.

    Args:
        plan: what there is.
        runs: folder of run folders.
        data_dir: folder of data mirrors.
        device: as for ``dpib run``.
        plugins: single-file plugins.
        timeout_minutes: per run; None: none.
    """
    return [
        Task(
            name=one.unit.name,
            spec=one.unit.spec.model_dump(mode="json"),
            runs=str(runs.resolve()),
            data_dir=str(data_dir.resolve()) if data_dir else None,
            device=device,
            plugins=tuple(str(path.resolve()) for path in plugins),
            gpus=int(device.startswith("cuda") or (one.unit.needs_gpu and device == "auto")),
            memory_bytes=one.estimate.memory_bytes,
            timeout_seconds=None if timeout_minutes is None else timeout_minutes * 60,
        )
        for one in _in_order(plan.standing("missing"))
    ]


def run_tasks(runner: Runner, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
    """Yield outcomes as they come; every failure is noted below the runs folder. See ``Runner.run``."""
    if not tasks:
        return
    with closing(runner.run(tasks, on_event)) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            _note(Path(tasks[0].runs), outcome)
            yield outcome


def failures(runs: Path) -> dict[str, Outcome]:
    """Return the last failure of each run that failed and was not done since, by digest of its spec."""
    found = {}
    for path in (notes_folder(runs) / "failures").glob("*.json"):
        found[path.stem] = Outcome(**json.loads(path.read_text()))
    return found


def _in_order(missing: list[Planned]) -> list[Planned]:
    makers = {one.pretraining: one for one in reversed(missing) if one.pretraining is not None}
    alone = [one for one in missing if one.pretraining is None]
    sharing = [one for one in missing if one.pretraining is not None and makers[one.pretraining] is not one]
    return [*reversed(makers.values()), *alone, *sharing]


def _note(runs: Path, outcome: Outcome) -> None:
    path = notes_folder(runs) / "failures" / f"{outcome.digest}.json"
    if outcome.state == "done":
        path.unlink(missing_ok=True)
    elif outcome.state not in ("interrupted", "busy"):
        write_text_atomically(path, json.dumps(asdict(outcome), indent=1) + "\n")
