"""``dpib report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpib.errors import ConfigError
from dpib.files import DEFAULT_RUNS


def report(
    grid: Annotated[Path, typer.Argument(help="A grid file.")],
    out: Annotated[Path, typer.Option(help="Folder for index.html and the pictures.")],
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = DEFAULT_RUNS,
    also: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Results store to read too; repeatable."),
    ] = None,
) -> None:
    """Write the report of an experiment: ours beside the paper's, plots, ranks, samples, and what its findings become.

    index.html needs no other file and prints; its plots lie beside it as PDF.

        dpib report experiments/lite/utility.toml --also submissions --out report
    """
    from dpib.cli.output import note, print_table
    from dpib.grids.grid import read_grid
    from dpib_leaderboard.report.page import write_report

    if runs != DEFAULT_RUNS and not runs.is_dir():
        raise ConfigError(f"No folder of runs at {runs}.")
    judged = write_report(read_grid(grid), [runs, *(also or [])], out)
    if judged:
        print_table(("verdict", "finding", "why"), ((one.verdict, one.finding.text, one.why) for one in judged))
    note(f"Written: {out / 'index.html'}")
