"""``dpib run GRID.toml``: plan, run what is missing, print the ranked table and what did not work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.errors import PluginError
from dpib.grids.base import Outcome, RunnerSettings, notes_folder


def run_grid(
    path: Path,
    runs: Path,
    data_dir: Path | None,
    device: str,
    runner_name: str,
    settings: RunnerSettings,
    timeout_minutes: float | None,
    also: Sequence[Path],
    plugins: Sequence[Path],
    json: bool,
    quiet: bool,
) -> None:
    """Run what is missing of a grid; parameters as the options of ``dpib run``.

    Raises:
        typer.Exit: 1 if a run failed, or one that was begun cannot be continued; 3 if nothing of the grid is possible.
    """
    from dpib.cli.results import print_standings
    from dpib.grids.display import display_of
    from dpib.grids.execute import make_runner, run_tasks, tasks_of
    from dpib.grids.grid import read_grid
    from dpib.grids.plan import make_plan
    from dpib.machine import check_device, choose_device
    from dpib.query import records_below, records_of
    from dpib.records import load_record
    from dpib.standings import standings

    if settings.address is None:
        choose_device(device)
    else:  # a cluster has devices of its own
        check_device(device)
    with prints_on_stderr():
        grid = read_grid(path)
        runner = make_runner(runner_name, settings)
        plan = make_plan(grid, runs, data_dir, device, also, cluster=settings.address is not None)
        if len(plan.standing("impossible")) == len(plan.units):
            reasons = "; ".join(reason.removesuffix(".") for reason in plan.reasons())
            raise PluginError(f"No run of {path} is possible here: {reasons}.")
        tasks = tasks_of(plan, runs, data_dir, device, plugins, timeout_minutes)
        if tasks:
            runs.mkdir(parents=True, exist_ok=True)  # before a process fails at it
        with display_of({task.digest: task.name for task in tasks}, quiet) as display:
            outcomes = []
            for outcome in run_tasks(runner, tasks, display.event):
                display.finished(outcome)
                outcomes.append(outcome)
    known = records_below([runs, *also])
    known = known[~known["id"].isin(plan.left_out)] if len(known) else known
    frame = records_of((unit.spec for unit in grid.units), known)
    if json:
        print_json([load_record(Path(path) / "record.json").to_plain() for path in frame.get("path", ())])
    elif len(frame):
        print_standings(standings(frame, known=known))
        note(f"Every run folder below {runs} has record.json, images.parquet and a sample grid, grid.png.")
    for one in plan.standing("running"):
        note(f"Left to another process that is at it: {one.unit.name}.")
    for reason, number in plan.reasons().most_common():
        note(f"Skipped {number} {'run' if number == 1 else 'runs'}: {reason.removesuffix('.')}.")
    stuck = any(one.begun for one in plan.standing("impossible"))
    failed = [outcome for outcome in outcomes if outcome.state != "done"]
    if failed:
        _print_failures(failed, len(tasks), runs)
    if failed or stuck:
        raise typer.Exit(1)


def _print_failures(failed: Sequence[Outcome], total: int, runs: Path) -> None:
    rows = [
        (outcome.name, outcome.state, f"{outcome.seconds:.0f} s", outcome.attempts, outcome.message)
        for outcome in failed
    ]
    print_table(("run", "state", "after", "attempts", "why"), rows, err=True)
    logs = notes_folder(runs) / "logs"
    note(f"{len(failed)} of {total} runs are not done; the others are kept. Logs: {logs}. The same command resumes.")
