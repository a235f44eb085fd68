"""What a review says: ``review.json``, written by the reviewer only. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from dpib.audit.levels import AuditEvidence, CheckEvidence, Negative
from dpib.errors import RecordError
from dpib.files import write_text_atomically
from dpib.isolation.jail import Protections
from dpib.records import Score
from dpib.spec import Digest, Frozen, canonical_json, describe_validation_error
from dpib_leaderboard import limits

LEVELS = ("self-reported", "recomputed", "reproduced", "audited", "reviewed")

REPRODUCED = "reproduced"
"""Name of the check that new runs of the code confirm the submission."""


class Check(Frozen):
    """One claim and whether it holds; ``holds`` None: it could not be decided here."""

    name: str
    holds: bool | None
    detail: str = ""


class Difference(Frozen):
    """One score as submitted and as recomputed. What is shown is what was recomputed."""

    metric: str
    protocol: str | None
    classifier: str | None
    submitted: float | None
    recomputed: float | None
    agrees: bool


class Diversity(Frozen):
    """How many images of a synthetic set differ from one another, and what the copy test counted.

    Attributes:
        unique_share: share of images that differ from all others in some pixel, each kind counted once.
        copies: real images that the set repeats exactly or nearly, per side.
        neighbours_in_train: share of nearest real neighbours on the training side, sizes equalised; 0.5 is chance.
        p_value: of that share, two-sided.
    """

    unique_images: int
    unique_share: float
    copies: dict[str, int]
    neighbours_in_train: float
    p_value: float


class Reproduction(Frozen):
    """New runs of a submission's code in isolation, with seeds that its author could not know.

    Attributes:
        method_digest: SHA-256 of the sources that ran; those of the record.
        seeds: drawn by the reviewer's machine.
        values: accuracy under Noisy SenV of each run, in percent.
        spent_epsilon: of each run, from the ledger that was streamed while it ran.
        submitted: the accuracy recomputed from the submitted images.
        tolerance: largest distance from the mean that counts as agreement (``dpib.agreement``).
        agrees: None: the runs differ too much to tell.
        protections: what was enforced while the code ran.
    """

    method_digest: Digest
    seeds: tuple[int, ...] = Field(min_length=3)
    values: tuple[float, ...]
    spent_epsilon: tuple[float, ...]
    submitted: float
    tolerance: float
    agrees: bool | None
    protections: Protections

    @property
    def counts(self) -> bool:
        """Whether it is worth trust level 2: it agrees, and the code could not reach network or files."""
        return self.agrees is True and self.protections.confined


class Review(Frozen):
    """The reviewer's document beside a record; append-only: it may be invalidated, never removed.

    Attributes:
        accepted: False: refused, and never shown as a result.
        trust_level: an index of ``LEVELS``.
        reviewed: when.
        first_reviewed: when the record was reviewed first, if this is not the first review.
        attempts: records of this method on this dataset and ε in the store, this one included, or the number the
            submitter counted if it is larger.
        scores: as recomputed from the images; empty at level 0. The only scores a board shows.
        statement: the privacy statement, written anew from the ledger.
        reproduction: new runs by the reviewer, where they were asked for.
        code_checks: the maintainers' verdicts of ``dpib check`` on the record's code.
        audits: the maintainers' audits of the record's code.
        missing: what the next trust level lacks.
        negatives: refuted or stale, with reason and date; always shown.
        invalidated: why it no longer counts, with the date; None while it does.
    """

    schema_version: Literal[1] = 1
    record: Digest
    accepted: bool
    trust_level: int = Field(ge=0, lt=len(LEVELS))
    reviewed: str
    first_reviewed: str | None = None
    reviewer: str
    attempts: int = Field(ge=1)
    spent_epsilon: float | None = None
    second_opinion: float | None = None
    scores: tuple[Score, ...] = ()
    differences: tuple[Difference, ...] = ()
    diversity: Diversity | None = None
    statement: str = ""
    checks: tuple[Check, ...]
    reproduction: Reproduction | None = None
    code_checks: tuple[CheckEvidence, ...] = ()
    audits: tuple[AuditEvidence, ...] = ()
    missing: tuple[str, ...] = ()
    negatives: tuple[Negative, ...] = ()
    invalidated: str | None = None

    @property
    def since(self) -> str:
        """When the record was reviewed first."""
        return self.first_reviewed or self.reviewed

    @property
    def reasons(self) -> list[str]:
        """Why it was refused: the checks that fail, in words."""
        return [f"{check.name}: {check.detail}" for check in self.checks if check.holds is False]

    def save(self, folder: Path) -> None:
        """Write ``review.json`` beside the record."""
        write_text_atomically(folder / limits.REVIEW, self.to_json())

    def to_json(self) -> str:
        """Return the document as stored."""
        return canonical_json(self.model_dump(mode="json")) + "\n"


def load_review(folder: Path) -> Review | None:
    """Return the review of a record's folder; None if there is none.

    Raises:
        RecordError: if it cannot be read, is a link, too large or malformed.
    """
    path = folder / limits.REVIEW
    if not (path.exists() or path.is_symlink()):
        return None
    if path.is_symlink() or path.stat().st_size > limits.REVIEW_BYTES:
        raise RecordError(f"{path} is not a review: it is a link or larger than {limits.REVIEW_BYTES} bytes.")
    try:
        return Review.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise RecordError(f"{path} is not a review: {describe_validation_error(error)}") from error


def failed(checks: Iterable[Check]) -> bool:
    """Return whether a check does not hold."""
    return any(check.holds is False for check in checks)
