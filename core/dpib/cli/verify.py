"""``dpib verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr

_WORDS = {True: "holds", False: "FAILS", None: "not decided"}


def verify(
    path: Annotated[Path, typer.Argument(help="A run folder, or its record.json.")],
    scores: Annotated[bool, typer.Option(help="Also retrain the classifiers and recompute every score.")] = True,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for features.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Recompute a record's ε from its ledger by two accountants, and its scores from its images.

    The privacy statement is written anew from the ledger. The epochs that were chosen privately are read from the
    record; nothing selects again. Exit code 1 if anything fails.

        dpib verify runs/demo-v1/digits/dp-merf/eps10-seed0-12ab34cd
    """
    from dpib.progress import terminal_reporter
    from dpib.verify import verify as recompute

    with prints_on_stderr(), terminal_reporter(quiet) as reporter:
        found = recompute(path, scores=scores, data_dir=data_dir, cache=cache, reporter=reporter)
    if json:
        print_json([{"name": c.name, "holds": c.holds, "detail": c.detail} for c in found.checks])
    else:
        print_table(("check", "", ""), [(c.name, _WORDS[c.holds], c.detail) for c in found.checks])
        note(found.statement or "No statement: the ledger has no price.")
    failed = [check.name for check in found.checks if check.holds is False]
    if failed:
        note(f"{len(failed)} of {len(found.checks)} checks fail: {', '.join(failed)}.")
        raise typer.Exit(1)
    undecided = sum(check.holds is None for check in found.checks)
    note(f"{len(found.checks) - undecided} checks hold" + (f", {undecided} not decided." if undecided else "."))
