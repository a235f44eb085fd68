"""``dpib check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.errors import ConfigError
from dpib.files import DEFAULT_RUNS

if TYPE_CHECKING:
    from dpib.verdicts import Verdict


def check(
    method: Annotated[str, typer.Argument(help="A method; see dpib plugins.")],
    profile: Annotated[
        str, typer.Option(help="quick (seconds), or full (minutes; 200 pairs of neighbours).")
    ] = "quick",
    plugin: Annotated[Path | None, typer.Option(help="A single Python file that brings the method.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs; their records will carry the verdict.")] = DEFAULT_RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Put a method through the conformance suite: contract, resuming, and privacy.

    The method runs on tiny data many times; no dataset is needed. Exit code 1 if a check fails or cannot be
    decided. A verdict is no proof: see docs/check.md for what it cannot find, and for the rules F1 to F20.

        dpib check dp-merf
    """
    from dpib import catalogue, plugins
    from dpib.progress import terminal_reporter
    from dpib.testing.suite import check_method, explain
    from dpib.verdicts import VerdictStore

    if profile not in ("quick", "full"):
        raise ConfigError(f"Expected --profile quick or full, got '{profile}'.")
    with prints_on_stderr(), terminal_reporter(quiet) as reporter:
        if plugin is not None:
            plugins.load_file(plugin)
        installed = catalogue.method(method)
        verdict = check_method(installed, "full" if profile == "full" else "quick", reporter)
    if json:
        print_json(verdict.model_dump(mode="json"))
    else:
        print_table(
            ("check", "rules", "outcome", "evidence"),
            [(result.id, result.rules, result.outcome, result.detail) for result in verdict.results],
        )
        if not verdict.holds:
            note(explain(verdict))
    path = VerdictStore(runs).keep(verdict)
    note(_conclusion(verdict, path))
    if not verdict.holds:
        raise typer.Exit(1)


def _conclusion(verdict: Verdict, path: Path) -> str:
    counts = ", ".join(f"{number} {outcome}" for outcome, number in verdict.summary().counts.items())
    return f"{verdict.method}, {verdict.profile}: {counts} in {verdict.seconds:.0f} s. Kept in {path}."
