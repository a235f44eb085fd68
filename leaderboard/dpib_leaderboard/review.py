"""What the maintainers' bot runs on a submission: validate, recompute, compare, write ``review.json``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dpib import catalogue
from dpib.__about__ import __version__
from dpib.agreement import scores_agree
from dpib.errors import RecordError
from dpib.records import RunRecord, Score
from dpib_leaderboard import limits
from dpib_leaderboard.entries import Entry
from dpib_leaderboard.history import attempts_of, history_checks
from dpib_leaderboard.parsing import printable
from dpib_leaderboard.recompute import Recomputed, recompute
from dpib_leaderboard.reviews import REPRODUCED, Check, Difference, Review, failed, load_review
from dpib_leaderboard.validate import Inspection, inspect


def now() -> str:
    """Return the time as records state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def examine(
    folder: Path,
    known: Sequence[Entry],
    *,
    place: str | None = None,
    author: str | None = None,
    sent: int = 0,
    scores: bool = True,
    data_dir: Path | None = None,
    memory: int = limits.CHILD_MEMORY,
) -> tuple[Inspection, Review | None]:
    """Run every check on a submission; nothing is written.

    Args:
        folder: what was submitted.
        known: the records of the store it is for.
        place: its path in the store; None: the last four parts of ``folder``.
        author: account that opened the pull request, if it came as one.
        sent: its earlier pull requests within a day.
        scores: also recompute the scores; ``dpib submit`` leaves that to the review.
        data_dir: folder of data mirrors.
        memory: limit of the process that opens the images, in bytes.

    Returns:
        What was inspected, and the review; None where there is no record that a review could be of.
    """
    inspection = inspect(folder, place=place, reviewed=True)
    record = inspection.record
    if record is None:
        return inspection, None
    checks = list(inspection.checks)
    own = "/".join(folder.resolve().parts[-4:]) if place is None else None
    if not failed(checks):
        checks += [_author_check(record, author)] if author is not None else []
        checks += history_checks(record, known, place=own, sent=sent)
    answer = Recomputed(checks=())
    if not failed(checks):
        seconds = limits.CHILD_SECONDS if scores else limits.STRUCTURE_SECONDS
        answer = recompute(folder, scores=scores, data_dir=data_dir, memory=memory, seconds=seconds)
        checks += answer.checks
    optional = catalogue.track(record.task.spec.track).optional_metrics if answer.scores else ()
    differences = compare(record.scores, answer.scores, optional) if answer.scores else ()
    if differences:
        wrong = [d for d in differences if not d.agrees]
        detail = ", ".join(f"{_label(d)} {d.submitted} submitted, {d.recomputed} recomputed" for d in wrong[:4])
        checks.append(Check(name="scores agree", holds=not wrong, detail=detail or f"{len(differences)} scores"))
    review = Review(
        record=record.id,
        accepted=not failed(checks),
        trust_level=1 if answer.scores and not failed(checks) else 0,
        reviewed=now(),
        reviewer=f"dpib {__version__} review",
        attempts=attempts_of(record, known),
        spent_epsilon=answer.spent_epsilon,
        second_opinion=answer.second_opinion,
        scores=answer.scores,
        differences=differences,
        diversity=answer.diversity,
        statement=answer.statement,
        checks=tuple(checks),
    )
    return inspection, review


def carried(review: Review, earlier: Review | None, *, again: bool = False) -> Review:
    """Return a new review of a record with what an earlier one found out about its code.

    Args:
        review: the new one.
        earlier: the one it replaces, if it is of the same record.
        again: the code is run again: the earlier verdict of a reproduction no longer decides.
    """
    if earlier is None or earlier.record != review.record:
        return review
    verdicts = () if again else tuple(check for check in earlier.checks if check.name == REPRODUCED)
    checks = (*review.checks, *verdicts)
    return review.model_copy(
        update={
            "checks": checks,
            "accepted": not failed(checks),
            "trust_level": 0 if failed(checks) else review.trust_level,
            "attempts": max(earlier.attempts, review.attempts),
            "first_reviewed": earlier.since,
            **{name: getattr(earlier, name) for name in ("reproduction", "code_checks", "audits", "negatives")},
        }
    )


def _author_check(record: RunRecord, author: str) -> Check:
    holds = record.who.account == author
    return Check(name="account", holds=holds, detail=f"sent by {printable(author, 60)}, signed {record.who.account}")


def _label(difference: Difference) -> str:
    return " ".join(filter(None, (difference.metric, difference.protocol, difference.classifier)))


def compare(
    submitted: Sequence[Score], recomputed: Sequence[Score], optional: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Return every score as submitted and as recomputed; one that only one side has does not agree.

    An optional metric that one side has not installed is left out.
    """
    theirs = {(s.metric, s.protocol, s.classifier): s.value for s in submitted}
    ours = {(s.metric, s.protocol, s.classifier): s.value for s in recomputed}
    errors = {(s.metric, s.protocol, s.classifier): s.stderr for s in recomputed}
    found = []
    for key in sorted({*theirs, *ours}, key=str):
        a, b = theirs.get(key), ours.get(key)
        if key[0] in optional and (key not in theirs or key not in ours):
            continue
        agrees = scores_agree(key[0], b, a, errors.get(key))
        found.append(
            Difference(metric=key[0], protocol=key[1], classifier=key[2], submitted=a, recomputed=b, agrees=agrees)
        )
    return tuple(found)


def invalidate(folder: Path, reason: str) -> Review:
    """Mark a reviewed record as no longer valid; nothing is deleted.

    Raises:
        RecordError: if there is no review, it is invalidated already, or no reason is given.
    """
    review = load_review(folder)
    if review is None or review.invalidated is not None or not reason.strip():
        problem = "has no review to take back" if review is None else "is invalidated already"
        raise RecordError(f"{folder.name} {problem if reason.strip() else 'is not invalidated without a reason'}.")
    changed = review.model_copy(update={"invalidated": f"{now()}: {printable(reason.strip())}"})
    changed.save(folder)
    return changed


def report(inspection: Inspection, review: Review | None) -> str:
    """Return the report as Markdown in which a stranger's text can only be text."""
    checks = review.checks if review else inspection.checks
    verdict = "refused" if review is None or not review.accepted else f"accepted, trust level {review.trust_level}"
    record = inspection.record
    lines = [f"**{verdict}**" + (f": record `{record.id[:16]}`" if record else ""), ""]
    words = {True: "holds", False: "FAILS", None: "not decided"}
    for check in checks:
        detail = f": {printable(check.detail, 300)}" if check.detail else ""
        lines.append(f"    {words[check.holds]:<12} {check.name}{detail}")
    if review and review.differences:
        lines += ["", "    score as submitted and as recomputed (the latter is shown):"]
        lines += [f"    {_label(d)}: {d.submitted} -> {d.recomputed}" for d in review.differences]
    if review and review.diversity:
        share = review.diversity.unique_share
        lines += [
            "",
            f"    {review.diversity.unique_images} distinct images ({share:.1%}), attempts: {review.attempts}",
        ]
    return "\n".join(lines) + "\n"
