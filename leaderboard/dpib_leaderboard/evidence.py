"""Weighs what the maintainers found out about a submission's code: trust levels 2 and 3, and the negative states."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from dpib.audit.levels import AuditEvidence, CheckEvidence, ReproductionEvidence, Subject, standing
from dpib.audit.report import AuditReport
from dpib.errors import RecordError
from dpib.records import RunRecord
from dpib.verdicts import SUITE_VERSION, Verdict
from dpib_leaderboard.reviews import Review

Evidence = CheckEvidence | AuditEvidence


def read_evidence(path: Path) -> Evidence:
    """Return what an audit report or a check's verdict, saved as JSON, says.

    Raises:
        RecordError: if it is neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"No evidence at {path}: {error.strerror}.") from error
    for read in (
        lambda: AuditEvidence.of(AuditReport.model_validate_json(content)),
        lambda: CheckEvidence.of(Verdict.model_validate_json(content)),
    ):
        try:
            return read()
        except ValidationError:
            continue
    raise RecordError(f"{path} is neither a report of `dpib audit --out` nor a verdict of `dpib check --json`.")


def weighed(review: Review, record: RunRecord, evidence: Iterable[Evidence] = ()) -> Review:
    """Return the review with new evidence added and the trust level that all of it carries.

    Args:
        review: an accepted review with recomputed scores.
        record: the record it is of.
        evidence: made by the maintainers on the very code of the record.

    Raises:
        RecordError: if a piece of evidence is of other code.
    """
    found = list(evidence)
    if any(one.code_digest != record.method.source_digest for one in found):
        raise RecordError(f"The evidence is not of the code of record {record.id[:16]}: its digest is another.")
    checks = (*review.code_checks, *(one for one in found if isinstance(one, CheckEvidence)))
    audits = (*review.audits, *(one for one in found if isinstance(one, AuditEvidence)))
    judged = standing(
        Subject(
            code_digest=record.method.source_digest,
            dataset_version=dataset_version(record),
            suite_version=SUITE_VERSION,
        ),
        recomputed=review.accepted and bool(review.scores),
        reproductions=_reproductions(review, record),
        checks=checks,
        audits=audits,
    )
    update = {"code_checks": checks, "audits": audits, "trust_level": judged.level, "missing": judged.missing}
    return review.model_copy(update={**update, "negatives": judged.negatives})


def dataset_version(record: RunRecord) -> str:
    """Return what tells versions of a dataset apart: the beginning of its training side's fingerprint."""
    return record.task.fingerprints["train"][:16]


def _reproductions(review: Review, record: RunRecord) -> list[ReproductionEvidence]:
    done = review.reproduction
    if done is None:
        return []
    agrees = done.agrees if done.protections.confined or done.agrees is False else None
    one = ReproductionEvidence(
        code_digest=done.method_digest,
        dataset_version=dataset_version(record),
        seeds=done.seeds,
        agrees=agrees,
        date=review.reviewed,
    )
    return [one]
