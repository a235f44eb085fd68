"""``dpib audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.errors import ConfigError

if TYPE_CHECKING:
    from dpib.audit.report import AuditReport


def audit(
    method: Annotated[str, typer.Argument(help="Name of a method; see dpib plugins.")],
    profile: Annotated[
        str, typer.Option(help="quick (minutes), standard (needed for level 3), deep, or one-run for slow methods.")
    ] = "standard",
    epsilon: Annotated[
        float | None, typer.Option(help="ε to claim and to test: by default 10, with one-run 1.", show_default=False)
    ] = None,
    runner: Annotated[str, typer.Option(help="Who does the runs, local or ray.")] = "local",
    jobs: Annotated[int, typer.Option(help="How many at a time; 0 for one per core.")] = 0,
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster; auto finds it.")] = None,
    plugin: Annotated[Path | None, typer.Option(help="Single-file plugin that brings the method.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report; by default audits/METHOD-PROFILE.json.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Try to refute a method's claim of privacy; an empirical lower bound on ε.

    Runs the method hundreds of times on tiny data with and without one record and tells the two apart by what is
    released. It can refute a claim; it never proves one. Methods of known behaviour run beside it: if one of them is
    misjudged, the audit is void. Exit code 1 if the claim is refuted or the audit void.

        dpib audit dp-merf --profile quick
    """
    import math

    from dpib import catalogue, plugins
    from dpib.audit.profiles import profile as named
    from dpib.audit.run import audit as play
    from dpib.grids.base import RunnerSettings
    from dpib.grids.execute import make_runner
    from dpib.progress import terminal_reporter

    if epsilon is not None and not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigError(f"--epsilon must be a finite number above 0, got {epsilon}.")
    if jobs < 0:
        raise ConfigError(f"--jobs must be 0 or more, got {jobs}.")
    sizes = named(profile)
    with prints_on_stderr(), terminal_reporter(quiet) as reporter:
        workers = make_runner(runner, RunnerSettings(jobs or None, address))
        if plugin is not None:
            plugins.load_file(plugin)
        report = play(
            catalogue.method(method),
            sizes,
            epsilon=epsilon,
            runner=workers,
            plugin=plugin,
            reporter=reporter,
        )
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report)
    path = out or Path("audits") / f"{method}-{profile}.json"
    report.save(path)
    note(f"Report: {path}")
    if report.verdict != "not refuted":
        raise typer.Exit(1)


def _print(report: AuditReport) -> None:
    columns = ("base set", "canary", "detector", "FP", "FN", "ε_lb by curve", "by counts", "reach", "")
    rows = [
        (
            game.base,
            game.canary,
            game.detector,
            f"{game.false_positives}/{game.n0}",
            f"{game.false_negatives}/{game.n1}",
            f"{game.epsilon_by_curve:.2f}",
            f"{game.epsilon_by_counts:.2f}",
            "" if game.reach is None else f"{game.reach:.2f}",
            "REFUTED" if game.refuted else "",
        )
        for game in report.games
    ]
    if rows:
        print_table(columns, rows)
    if report.one_run is not None:
        found = report.one_run
        note(
            f"One run: {found.correct} of {found.guesses} guesses right, {found.coins} coins; "
            f"ε_lb = {found.epsilon:.2f}, by curve {found.epsilon_by_curve:.2f}."
        )
    words = {True: "as expected", False: "MISJUDGED"}
    print_table(
        ("control", "must", "by", "", ""),
        [(one.name, one.must, one.by, words[one.as_expected], one.detail) for one in report.controls],
    )
    typer.echo(report.statement)
