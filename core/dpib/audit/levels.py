"""Trust levels from evidence (privacy 9): what is known decides, nobody's word. Imports no torch.

A level belongs to a triple of code, dataset version and suite version. Evidence on another triple counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from dpib.audit.report import AuditReport
from dpib.spec import Digest, Frozen
from dpib.verdicts import Profile, Verdict

FEWEST_SEEDS = 3
LEAST_POWER = 0.9

Level = Literal[0, 1, 2, 3]
NegativeState = Literal["refuted", "unsupported", "stale", "withdrawn"]


class Subject(Frozen):
    """What a level belongs to.

    Attributes:
        code_digest: of the method's sources.
        dataset_version: fingerprint or version of the dataset's card.
        suite_version: of the games and checks.
    """

    code_digest: Digest
    dataset_version: str
    suite_version: int


class ReproductionEvidence(Frozen):
    """New runs of pinned code by the platform, at seeds the submitter could not know.

    Attributes:
        agrees: whether they confirm the submission; None if they could not tell, or the code was not confined.
    """

    code_digest: Digest
    dataset_version: str
    seeds: tuple[int, ...]
    agrees: bool | None
    date: str


class CheckEvidence(Frozen):
    """A verdict of ``dpib check``; what is undecided is not passed."""

    code_digest: Digest
    suite_version: int
    profile: Profile
    passed: bool
    failed: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    date: str

    @property
    def has_failure(self) -> bool:
        """Whether a check failed, also by evidence that does not name which."""
        return bool(self.failed) or not (self.passed or self.undecided)

    @classmethod
    def of(cls, verdict: Verdict) -> CheckEvidence:
        """Return the evidence in a verdict."""
        return cls(
            code_digest=verdict.source_digest,
            suite_version=verdict.suite_version,
            profile=verdict.profile,
            passed=verdict.holds,
            failed=tuple(result.id for result in verdict.with_outcome("failed")),
            undecided=tuple(result.id for result in verdict.with_outcome("undecided")),
            date=verdict.date,
        )


class AuditEvidence(Frozen):
    """What an audit report says, as far as a level depends on it."""

    code_digest: Digest
    suite_version: int
    profile: str
    verdict: Literal["not refuted", "refuted", "void"]
    power: float | None = Field(ge=0, le=1)
    reasons: tuple[str, ...] = ()
    date: str

    @classmethod
    def of(cls, report: AuditReport) -> AuditEvidence:
        """Return the evidence in a report."""
        return cls(
            code_digest=report.method.source_digest,
            suite_version=report.suite_version,
            profile=report.profile,
            verdict=report.verdict,
            power=report.power,
            reasons=report.reasons,
            date=report.created,
        )


class Negative(Frozen):
    """A state that stays visible, with its reason and date."""

    state: NegativeState
    reason: str = Field(min_length=1)
    date: str


class Standing(Frozen):
    """A level, what the next one lacks, and every negative state.

    Attributes:
        level: 0 self-reported, 1 recomputed, 2 reproduced, 3 audited; 4 is granted by reviewers.
        missing: what is wanting for the next level.
        negatives: a refuted, unsupported or withdrawn claim has level 0.
    """

    level: Level
    missing: tuple[str, ...]
    negatives: tuple[Negative, ...] = ()


def standing(
    subject: Subject,
    *,
    recomputed: bool,
    reproductions: Sequence[ReproductionEvidence] = (),
    checks: Sequence[CheckEvidence] = (),
    audits: Sequence[AuditEvidence] = (),
    unsupported: Negative | None = None,
    withdrawn: Negative | None = None,
) -> Standing:
    """Return the level that the evidence carries.

    Args:
        subject: the triple in question.
        recomputed: the platform recomputed scores and ε from the samples, and the copy test passed (level 1).
        reproductions: runs by the platform, of any code.
        checks: verdicts of ``dpib check``, of any code.
        audits: audits, of any code; a void one counts for nothing.
        unsupported: the claim has an event that the platform cannot price.
        withdrawn: its owner took it back.
    """
    mine = [one for one in checks if _same_code(one, subject)]
    valid = [one for one in audits if one.verdict != "void" and _same_code(one, subject)]
    refuted = [
        Negative(state="refuted", reason="; ".join(one.reasons) or "an audit refuted the claim", date=one.date)
        for one in valid
        if one.verdict == "refuted"
    ]
    final = [*refuted, *(one for one in (unsupported, withdrawn) if one is not None)]
    negatives = (*final, *_stale(subject, reproductions, checks, audits))
    if final:
        return Standing(level=0, missing=("an end to the negative states",), negatives=negatives)
    steps = (
        [] if recomputed else ["scores and ε recomputed from uploaded samples, copy test passed"],
        _missing_reproductions(subject, reproductions),
        [*_missing_check(mine), *_missing_audit(valid)],
    )
    for level, missing in enumerate(steps):
        if missing:
            return Standing(level=_LEVELS[level], missing=tuple(missing), negatives=negatives)
    return Standing(level=3, missing=("a written proof and two named reviewers",), negatives=negatives)


_LEVELS: tuple[Level, Level, Level] = (0, 1, 2)


def _same_code(evidence: CheckEvidence | AuditEvidence, subject: Subject) -> bool:
    return (evidence.code_digest, evidence.suite_version) == (subject.code_digest, subject.suite_version)


def _missing_reproductions(subject: Subject, reproductions: Sequence[ReproductionEvidence]) -> list[str]:
    mine = [one for one in reproductions if _same_data(one, subject) and len(set(one.seeds)) >= FEWEST_SEEDS]
    if not mine:
        return [f"reproductions at {FEWEST_SEEDS} seeds unknown to the submitter"]
    return [] if all(one.agrees for one in mine) else ["agreement of the reproductions within the tolerance"]


def _same_data(one: ReproductionEvidence, subject: Subject) -> bool:
    return (one.code_digest, one.dataset_version) == (subject.code_digest, subject.dataset_version)


def _missing_check(mine: Sequence[CheckEvidence]) -> list[str]:
    """Return what is wanting; a failure in either profile counts before every pass of the same code."""
    if any(one.has_failure for one in mine):
        return ["a dpib check without failures"]
    thorough = [one for one in mine if one.profile == "full"]
    if not thorough:
        return ["a verdict of dpib check --profile full"]
    latest = max(thorough, key=lambda one: one.date)
    return [f"decisions of dpib check on {', '.join(latest.undecided)}"] if latest.undecided else []


def _missing_audit(valid: Sequence[AuditEvidence]) -> list[str]:
    """Return what is wanting; a refutation was dealt with before."""
    thorough = [one for one in valid if one.profile in ("standard", "deep")]
    if not thorough:
        return ["a valid standard audit"]
    powers = [one.power for one in thorough if one.power is not None]
    if powers and max(powers) >= LEAST_POWER:
        return []
    shown = f"{max(powers):.2f}" if powers else "not measured"
    return [f"power of at least {LEAST_POWER} against half noise ({shown})"]


def _stale(
    subject: Subject,
    reproductions: Sequence[ReproductionEvidence],
    checks: Sequence[CheckEvidence],
    audits: Sequence[AuditEvidence],
) -> list[Negative]:
    """Return one state per kind of evidence that is for this code, but only for other versions of suite or dataset."""
    found = []
    for kind, evidence in (("check", checks), ("audit", audits)):
        old = [one for one in evidence if one.code_digest == subject.code_digest]
        if old and not any(one.suite_version == subject.suite_version for one in old):
            latest = max(old, key=lambda one: one.date)
            reason = (
                f"the {kind} is of suite version {latest.suite_version}, the present one is {subject.suite_version}"
            )
            found.append(Negative(state="stale", reason=reason, date=latest.date))
    runs = [one for one in reproductions if one.code_digest == subject.code_digest]
    if runs and not any(_same_data(one, subject) for one in runs):
        last = max(runs, key=lambda one: one.date)
        reason = f"the reproductions are of dataset {last.dataset_version}"
        found.append(Negative(state="stale", reason=reason, date=last.date))
    return found
