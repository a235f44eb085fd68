"""``dpib review``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.options import refuse_options
from dpib.cli.output import note, prints_on_stderr
from dpib.errors import ConfigError, DataError, RecordError, StorageError
from dpib_leaderboard import limits

if TYPE_CHECKING:
    from dpib_leaderboard.review import Review
    from dpib_leaderboard.validate import Inspection

_PULL_REQUEST = re.compile(r"(?:hf:|https?://[^/]+/datasets/)([\w.-]+/[\w.-]+)(?:#|/discussions/)(\d+)", re.ASCII)


_OF_REPRODUCTION = ("code", "seeds", "without_isolation")
_OF_EXAMINATION = ("scores", "data_dir", "reproduce", "evidence", "publish")


def review(
    ctx: typer.Context,
    submission: Annotated[str, typer.Argument(help="A record's folder, hf:ORG/REPO#N, or a pull request's address.")],
    store: Annotated[Path | None, typer.Option(help="Root of the store the folder lies in.")] = None,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Merge the pull request with its review, or close it with the reasons."),
    ] = False,
    invalidate: Annotated[str | None, typer.Option(help="Why a reviewed record no longer counts.")] = None,
    scores: Annotated[bool, typer.Option(help="Recompute the scores; without them the level is 0.")] = True,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    reproduce: Annotated[
        bool,
        typer.Option("--reproduce", help="Also run the code again, isolated, with new seeds: trust level 2."),
    ] = False,
    code: Annotated[
        Path | None,
        typer.Option(help="The plugin's file, or a folder of 'pip install --target'; without it: a built-in method."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="New seeds of a reproduction, at least 3.")] = 5,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            help="Your own `dpib check --profile full --json` or `dpib audit --out` of the code: level 3. Repeatable."
        ),
    ] = None,
    without_isolation: Annotated[
        bool,
        typer.Option("--without-isolation", help="Run code that you trust where it cannot be confined; no level 2."),
    ] = False,
) -> None:
    """Review a submission: the validator, both accountants, the copy test, and the scores from its images.

    A folder gets a review.json. The scores in it are those a board shows. Exit code 1 if it is refused.

        dpib review store/demo-v1/digits/dp-means/0123456789abcdef
        dpib review store/demo-v1/digits/mine/0123456789abcdef --reproduce --code mine.py
        dpib review store/demo-v1/digits/mine/0123456789abcdef --evidence check.json --evidence audit.json
    """
    match = _PULL_REQUEST.fullmatch(submission)
    if not reproduce:
        refuse_options(ctx, _OF_REPRODUCTION, "it is about --reproduce, which is not given")
    if invalidate is not None:
        refuse_options(ctx, _OF_EXAMINATION, "--invalidate takes a review back and examines nothing")
    if match:
        refuse_options(ctx, ("store", "invalidate"), "it is for a folder of a store, and this is a pull request")
    else:
        refuse_options(ctx, ("publish",), "it is for a pull request (hf:ORG/REPO#N), and this is a folder")
    again = _Again(code, seeds, without_isolation) if reproduce else None
    proofs = evidence or []
    if match:
        _review_pull_request(match[1], int(match[2]), publish, scores, data_dir, again, proofs)
        return
    from dpib_leaderboard.entries import read_entries
    from dpib_leaderboard.review import carried, examine, report
    from dpib_leaderboard.review import invalidate as invalidate_record
    from dpib_leaderboard.reviews import load_review
    from dpib_leaderboard.rows import build_rows

    folder = Path(submission)
    if not (folder / "record.json").is_file() or len(folder.resolve().parents) < 4:
        raise ConfigError(
            f"No submission at {folder}: give hf:ORG/REPO#N, or the folder of a record in a store, "
            "STORE/TRACK/DATASET/METHOD/ID with its record.json."
        )
    if (folder / "run.json").is_file():
        raise ConfigError(
            f"{folder} is a run, not a submission: `dpib submit` makes it one, and `dpib verify` checks it as it is."
        )
    root = store or folder.resolve().parents[3]
    if invalidate is not None:
        typer.echo(invalidate_record(folder, invalidate).invalidated)
        build_rows(root)
        return
    earlier = load_review(folder)
    _require_open(folder, earlier, scores)
    if proofs and again is None and earlier is not None:
        _add_evidence(folder, proofs)
        build_rows(root)
        return
    with prints_on_stderr():
        known = read_entries(root)
        inspection, found = examine(folder, known, scores=scores, data_dir=data_dir)
        _require_present(folder, inspection, earlier, found)
        if found is not None:
            found = carried(found, earlier, again=again is not None)
        found = _weighed(inspection, _reproduced(inspection, found, again, data_dir), proofs)
    typer.echo(report(inspection, found), nl=False)
    if found is None:
        raise typer.Exit(1)
    found.save(folder)
    if not found.accepted:
        _say_reasons(found)
        raise typer.Exit(1)
    note(f"{build_rows(root)} rows in {root / 'rows.parquet'}")


def _require_open(folder: Path, earlier: Review | None, scores: bool) -> None:
    """Refuse to review what was taken back, or to take recomputed scores back by leaving them out."""
    if earlier is None:
        return
    if earlier.invalidated is not None:
        raise RecordError(
            f"{folder.name} was invalidated ({earlier.invalidated}) and stays so. A corrected record supersedes it: "
            "`dpib submit --supersedes`."
        )
    if earlier.accepted and earlier.scores and not scores:
        raise ConfigError(f"The review of {folder.name} has recomputed scores; --no-scores would take them back.")


def _require_present(folder: Path, inspection: Inspection, earlier: Review | None, found: Review | None) -> None:
    """Refuse to write a verdict that says no more than what is not on this machine."""
    if not inspection.has_images and [one.name for one in inspection.checks if one.holds is False] == ["images"]:
        raise DataError(
            f"{limits.IMAGES} is not in {folder}, and the record does not say that it is withheld: a copy of a store "
            "without images cannot be reviewed. Put the file of the run, or of the store on the Hub, there. Nothing "
            "was written."
        )
    if earlier is not None and earlier.accepted and earlier.scores and found and found.accepted and not found.scores:
        raise DataError(
            f"The review of {folder.name} has recomputed scores, and the real data that they take is not on this "
            "machine: give --data-dir. Nothing was written."
        )


@dataclass(frozen=True)
class _Again:
    """How to run the code of a submission again."""

    code: Path | None
    seeds: int
    without_isolation: bool


def _reproduced(
    inspection: Inspection,
    found: Review | None,
    again: _Again | None,
    data_dir: Path | None,
) -> Review | None:
    """Return the review with new runs, where they were asked for and the submission was accepted so far."""
    if again is None or found is None or not found.accepted or inspection.record is None:
        return found
    from dpib_leaderboard.reproduce import reproduced

    return reproduced(
        found,
        inspection.record,
        code=again.code,
        seeds=again.seeds,
        data_dir=data_dir,
        unconfined=again.without_isolation,
        note=note,
    )


def _weighed(inspection: Inspection, found: Review | None, proofs: list[Path]) -> Review | None:
    """Return the review with the trust level that all evidence carries, where it was accepted with scores."""
    if found is None or not found.accepted or not found.scores or inspection.record is None:
        return found
    from dpib_leaderboard.evidence import read_evidence, weighed

    return weighed(found, inspection.record, [read_evidence(path) for path in proofs])


def _add_evidence(folder: Path, proofs: list[Path]) -> None:
    """Add evidence to a review that is there; nothing is computed again."""
    from dpib_leaderboard.entries import read_entry
    from dpib_leaderboard.evidence import read_evidence, weighed

    entry = read_entry(folder)
    if entry.valid is None or not entry.valid.scores:
        raise RecordError(f"{folder.name} has no review with recomputed scores that still counts. Review it first.")
    found = weighed(entry.valid, entry.record, [read_evidence(path) for path in proofs])
    found.save(folder)
    typer.echo(f"trust level {found.trust_level}; for the next: {'; '.join(found.missing)}")
    for negative in found.negatives:
        typer.echo(f"{negative.state} ({negative.date[:10]}): {negative.reason}")


def _say_reasons(found: Review) -> None:
    for reason in found.reasons:
        note(f"refused: {reason}")


def _review_pull_request(
    repo: str, number: int, publish: bool, scores: bool, data_dir: Path | None, again: _Again | None, proofs: list[Path]
) -> None:
    from tempfile import TemporaryDirectory

    from dpib_leaderboard.entries import read_entries
    from dpib_leaderboard.hub import HubStore
    from dpib_leaderboard.review import examine, report

    hub = HubStore(repo)
    store = hub.snapshot()
    if store.stale and publish:
        raise StorageError(f"{store.stale} Nothing is merged or closed on an old state of the store.")
    if store.stale:
        note(store.stale)
    with TemporaryDirectory(prefix="dpib-review-") as scratch:
        try:
            folder, place, author, head = hub.fetch(number, Path(scratch))
        except RecordError as error:
            text = f"**refused**\n\n    {error}\n"
            typer.echo(text)
            if publish:
                hub.refuse(number, text)
            raise typer.Exit(1) from error
        with prints_on_stderr():
            known, sent = read_entries(store.folder), hub.recently_sent(author, number)
            inspection, found = examine(
                folder, known, place=place, author=author, sent=sent, scores=scores, data_dir=data_dir
            )
            found = _weighed(inspection, _reproduced(inspection, found, again, data_dir), proofs)
        text = report(inspection, found)
        typer.echo(text, nl=False)
        accepted = found is not None and found.accepted
        if publish and found is not None and accepted:
            assert store.commit is not None  # a store on the Hub has one
            hub.accept(number, place, found.to_json(), head, store.commit)
            hub.publish_rows()
            note(f"merged {place}")
        elif publish:
            hub.refuse(number, text)
    if not accepted:
        raise typer.Exit(1)
