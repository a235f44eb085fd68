"""``dpib plan``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.files import DEFAULT_RUNS

if TYPE_CHECKING:
    from dpib.grids.plan import Plan, Planned

Also = Annotated[
    list[Path] | None,
    typer.Option(exists=True, file_okay=False, help="Results store whose records count as done; repeatable."),
]


def duration(seconds: float | None) -> str:
    """Return a time in the unit that people use for it."""
    if seconds is None:
        return "unknown"
    for unit, length in (("days", 86_400 * 2), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.1f} {unit}"
    return f"{seconds:.0f} s"


def print_plan(plan: Plan, jobs: int) -> None:
    """Print the plan for a person: a line per group of runs that differ in their seeds only, reasons, sums."""
    notes: dict[str, int] = {}
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for one in plan.units:
        spec = one.unit.spec
        extras = (spec.variant, spec.pretrain if spec.public != "none" else "", *spec.preludes)
        words = (*filter(None, extras), *(f"{name}={value}" for name, value in spec.overrides.items()))
        point = (spec.track, spec.dataset, f"{spec.epsilon:g}", spec.method, spec.public, " ".join(words))
        groups.setdefault((*point, one.standing, one.reason), []).append(one)
    rows = []
    for (track, dataset, epsilon, method, public, settings, standing, reason), members in groups.items():
        estimate = members[0].estimate
        seconds = duration(estimate.seconds) if standing == "missing" else ""
        memory = f"{estimate.memory_bytes / 2**30:.1f} GiB" if seconds and estimate.memory_bytes else ""
        where = "" if public == "none" else f"+{public} "
        rows.append(
            (
                track,
                dataset,
                epsilon,
                f"{method} {where}{settings}".strip(),
                len(members),
                f"{standing} ({notes.setdefault(reason, len(notes) + 1)})" if reason else standing,
                seconds,
                memory,
            )
        )
    print_table(("track", "dataset", "ε", "method", "runs", "state", "time each", "memory"), rows)
    for reason, number in notes.items():
        typer.echo(f"({number}) {reason}")
    counts = Counter(one.standing for one in plan.units)
    typer.echo(f"{len(plan.units)} runs: " + ", ".join(f"{number} {name}" for name, number in counts.items()) + ".")
    for shared in plan.pretrainings:
        runs = "one run" if shared.runs == 1 else f"{shared.runs} runs"
        typer.echo(f"Pretraining once for {runs}: {shared.name}, {duration(shared.seconds)}.")
    if counts["missing"] and counts["missing"] == plan.unknown:
        typer.echo("Missing: how long it takes is unknown, as no recorded run is like them.")
    elif counts["missing"]:
        memory = f", at most {plan.memory_bytes / 2**30:.1f} GiB each" if plan.memory_bytes else ""
        typer.echo(
            f"Missing: {duration(plan.seconds)} of computing, {duration(plan.seconds / jobs)} with {jobs} at a time"
            + memory
            + (f"; what has no record like it comes on top ({plan.unknown})." if plan.unknown else ".")
        )


def _plain(one: Planned) -> dict[str, Any]:
    return {
        "spec": one.unit.spec.model_dump(mode="json"),
        "state": one.standing,
        "reason": one.reason,
        "begun": one.begun,
        "seconds": one.estimate.seconds,
        "memory_bytes": one.estimate.memory_bytes,
        "estimated_from": one.estimate.runs,
    }


def plan(
    grid: Annotated[Path, typer.Argument(help="A grid file.")],
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = DEFAULT_RUNS,
    also: Also = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at a time the total is for.")] = 1,
    plugin: Annotated[Path | None, typer.Option(help="A single Python file that brings a method.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per run.")] = False,
) -> None:
    """Say what a grid would run: what is done, running, missing or impossible here, and what it will take.

    Times and memory come from recorded runs of the same method on the same track and kind of device (CPU or GPU, if any
    ran there), most alike first, in --runs and in the checkout's submissions; otherwise they are unknown. A
    pretraining that runs share counts once.

        dpib plan experiments/demo.toml
    """
    from dpib import plugins
    from dpib.grids.execute import failures
    from dpib.grids.grid import read_grid
    from dpib.grids.plan import make_plan
    from dpib.machine import check_device

    check_device(device)
    with prints_on_stderr():
        if plugin is not None:
            plugins.load_file(plugin)
        made = make_plan(read_grid(grid), runs, data_dir, device, also or ())
    if json:
        units = [_plain(one) for one in made.units]
        shared = [{"name": one.name, "runs": one.runs, "seconds": one.seconds} for one in made.pretrainings]
        print_json({"title": made.grid.title, "units": units, "pretraining": shared, "seconds": made.seconds})
        return
    print_plan(made, jobs)
    failed = failures(runs)
    for one in made.standing("missing"):
        last = failed.get(one.unit.spec.digest)
        if last is not None:
            note(f"Last time {last.state}: {one.unit.name}: {last.message}")
