"""``dpib submit``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.output import note, print_table, prints_on_stderr
from dpib.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from dpib_leaderboard.store import Store
    from dpib_leaderboard.submit import Prepared


def submit(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders, or folders of them.")] = None,
    to: Annotated[str, typer.Option(help="The store: hf:ORG/REPO, or a folder.")] = "submissions",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and preview; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree that everything named becomes public.")] = False,
    status: Annotated[bool, typer.Option("--status", help="List what was submitted to the store.")] = False,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="To a folder in git: leave images.parquet out.")
    ] = False,
    contact: Annotated[str | None, typer.Option(help="How to reach you; becomes public.")] = None,
    supersedes: Annotated[str | None, typer.Option(help="Id of your record that this one replaces.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors, for the copy test.")] = None,
) -> None:
    """Validate records as the review will, preview their rows, and open one pull request for each.

    Every pull request is one commit that adds one new folder. Nothing is sent before you agree.

        dpib submit runs/lite-v1/mnist/dp-merf --to hf:ORG/REPO --dry-run
    """
    from dpib_leaderboard.store import open_store

    store = open_store(to, images=not without_images)
    if status:
        print_table(("state", "submission", "address or date"), store.submissions())
        return
    if not runs:
        raise ConfigError("Name at least one run folder, or ask for --status.")
    _submit(store, runs, dry_run, yes, contact, supersedes, data_dir)


def _submit(
    store: Store,
    runs: list[Path],
    dry_run: bool,
    yes: bool,
    contact: str | None,
    supersedes: str | None,
    data_dir: Path | None,
) -> None:
    from dpib_leaderboard.entries import read_entries
    from dpib_leaderboard.submit import PUBLIC, find_runs, prepared, preview

    folders = find_runs(runs)
    if supersedes and len(folders) > 1:
        raise ConfigError("--supersedes names one record, so submit one run with it.")
    account = _account(store, dry_run)
    snapshot = store.snapshot()
    if snapshot.stale:
        note(snapshot.stale)
    known = read_entries(snapshot.folder)
    with ExitStack() as stack:
        with prints_on_stderr():
            ready = [
                stack.enter_context(
                    prepared(run, known, account=account, contact=contact, supersedes=supersedes, data_dir=data_dir)
                )
                for run in folders
            ]
        for one in ready:
            _show(one)
        refused = [one for one in ready if not one.accepted]
        if refused:
            note(f"{len(refused)} of {len(ready)} would be refused. Nothing was sent.")
            raise typer.Exit(1)
        note("If the review confirms the scores, the board will read:")
        _print_preview(preview([one.record for one in ready], known))
        note(f"This becomes public at {store.address}, and stays so: {'; '.join(PUBLIC)}.")
        if dry_run:
            note("Dry run: nothing was sent.")
            return
        if not (yes or typer.confirm(f"Submit {len(ready)} record(s)?", err=True)):
            note("Nothing was sent.")
            raise typer.Exit(1)
        for one in ready:
            typer.echo(store.submit(one.folder, one.place).address)


def _account(store: Store, dry_run: bool) -> str | None:
    """Return whose the submission is; a dry run does without, and then what depends on it is not decided."""
    try:
        return store.account()
    except StorageError as error:
        if not dry_run:
            raise
        note(f"{error} What depends on the account is checked when you send it.")
        return None


def _show(one: Prepared) -> None:
    note(f"{one.place}: {one.size / 1024:.0f} KiB, {', '.join(sorted(path.name for path in one.folder.iterdir()))}")
    for check in one.checks:
        if check.holds is not True:
            note(f"  {'refused' if check.holds is False else 'not decided'}: {check.name}: {check.detail}")


def _print_preview(table: object) -> None:
    from dpib.query import name_of

    rows = []
    for row in table.itertuples():  # type: ignore[attr-defined]
        rank = f"{row.rank_best}-{row.rank_worst}" if row.rank_best != row.rank_worst else f"{row.rank_best}"
        place = rank if row.ranked else "reference" if row.reference else "too few seeds"
        rows.append((place, row.dataset, f"{row.epsilon:g}", name_of(row), f"{row.mean:.1f}", row.seeds))
    print_table(("rank", "dataset", "ε", "method", "Acc % (Noisy SenV)", "seeds"), rows)
