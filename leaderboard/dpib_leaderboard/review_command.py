"""``dpib review``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.output import note
from dpib.errors import RecordError

if TYPE_CHECKING:
    from dpib_leaderboard.hub import HubStore
    from dpib_leaderboard.review import Review

_PULL_REQUEST = re.compile(r"(?:hf:|https?://[^/]+/datasets/)([\w.-]+/[\w.-]+)(?:#|/discussions/)(\d+)", re.ASCII)


def review(
    submission: Annotated[str, typer.Argument(help="A record's folder, hf:ORG/REPO#N, or a pull request's address.")],
    store: Annotated[Path | None, typer.Option(help="Root of the store the folder lies in.")] = None,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Merge the pull request with its review, or close it with the reasons."),
    ] = False,
    invalidate: Annotated[str | None, typer.Option(help="Why a reviewed record no longer counts.")] = None,
    scores: Annotated[bool, typer.Option(help="Recompute the scores; without them the level is 0.")] = True,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
) -> None:
    """Review a submission: the validator, both accountants, the copy test, and the scores from its images.

    A folder gets a review.json. The scores in it are those a board shows. Exit code 1 if it is refused.

        dpib review store/demo-v1/digits/dp-means/0123456789abcdef
    """
    match = _PULL_REQUEST.fullmatch(submission)
    if match:
        _review_pull_request(match[1], int(match[2]), publish, scores, data_dir)
        return
    from dpib_leaderboard.entries import read_entries
    from dpib_leaderboard.review import examine, report
    from dpib_leaderboard.review import invalidate as invalidate_record
    from dpib_leaderboard.rows import build_rows

    folder = Path(submission)
    if not folder.is_dir():
        raise RecordError(f"No submission at {folder}: give a record's folder, or hf:ORG/REPO#N.")
    root = store or folder.resolve().parents[3]
    if invalidate is not None:
        typer.echo(invalidate_record(folder, invalidate).invalidated)
        build_rows(root)
        return
    inspection, found = examine(folder, read_entries(root), scores=scores, data_dir=data_dir)
    typer.echo(report(inspection, found), nl=False)
    if found is None:
        raise typer.Exit(1)
    found.save(folder)
    if not found.accepted:
        _say_reasons(found)
        raise typer.Exit(1)
    note(f"{build_rows(root)} rows in {root / 'rows.parquet'}")


def _say_reasons(found: Review) -> None:
    for reason in found.reasons:
        note(f"refused: {reason}")


def _review_pull_request(repo: str, number: int, publish: bool, scores: bool, data_dir: Path | None) -> None:
    from tempfile import TemporaryDirectory

    from dpib_leaderboard.entries import read_entries
    from dpib_leaderboard.hub import HubStore
    from dpib_leaderboard.review import examine, report

    hub = HubStore(repo)
    with TemporaryDirectory(prefix="dpib-review-") as scratch:
        try:
            folder, place, author, head = hub.fetch(number, Path(scratch))
        except RecordError as error:
            text = f"**refused**\n\n    {error}\n"
            typer.echo(text)
            if publish:
                hub.refuse(number, text)
            raise typer.Exit(1) from error
        known = read_entries(hub.snapshot().folder)
        inspection, found = examine(folder, known, place=place, author=author, scores=scores, data_dir=data_dir)
        text = report(inspection, found)
        typer.echo(text, nl=False)
        accepted = found is not None and found.accepted
        if publish:
            _publish(hub, number, place, head, found, text)
    if not accepted:
        raise typer.Exit(1)


def _publish(hub: HubStore, number: int, place: str, head: str, found: Review | None, text: str) -> None:
    from dpib_leaderboard.entries import read_entries

    if found is None or not found.accepted:
        hub.refuse(number, text)
        return
    hub.accept(number, place, found.to_json(), head)
    hub.publish_rows(read_entries(hub.snapshot().folder))
    note(f"merged {place}")
