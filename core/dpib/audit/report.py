"""What an audit found: a frozen document, and the one line it is quoted by. Imports no torch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from dpib.audit.profiles import ProfileName
from dpib.errors import RecordError
from dpib.files import write_text_atomically
from dpib.spec import Digest, Frozen, Name, Relation, describe_validation_error

Verdict = Literal["not refuted", "refuted", "void"]
POWER_METHOD = (
    "The method was run again in the first game with the harness drawing half the noise the ledger states; these runs "
    "were divided and resampled 100 times, no run in both halves, and each time tuned and tested like the audit. "
    "Power is the share of repetitions that refute; the audit's other games can only add to it."
)


class AuditedMethod(Frozen):
    """Which code was audited, with which settings."""

    name: Name
    distribution: str
    version: str
    source_digest: Digest
    config: dict[str, Any]


class GameReport(Frozen):
    """One game.

    Attributes:
        n0: runs without the canary that the bound is from; ``n1`` with it. As many more chose the detector.
        a: upper bound on the false-positive rate; ``b`` on the false-negative rate.
        claimed: the least false-negative rate the claim allows at ``a``; refuted if ``b`` is below.
        epsilon_by_curve: ε_lb, from the ledger's own events with all noise scaled by one factor.
        epsilon_by_counts: ε_lb by (ε, δ), with no assumption on the mechanism; limited by the number of runs.
        reach: share of the charged sensitivity that the canary used; None if queries could not be seen.
    """

    base: str
    canary: str
    detector: str
    n0: int
    n1: int
    false_positives: int
    false_negatives: int
    a: float
    b: float
    claimed: float
    epsilon_by_curve: float
    epsilon_by_counts: float
    refuted: bool
    reach: float | None


class CopyReport(Frozen):
    """The copy test.

    Attributes:
        exact: released images that were records of pure noise, over all runs; one refutes.
        ranks: of the planted canary among ``unplanted`` others, run by run; 1 is nearest.
        p_value: of so many near ranks under the claim.
    """

    runs: int
    exact: int
    ranks: tuple[int, ...]
    unplanted: int
    p_value: float
    refuted: bool


class OneRunReport(Frozen):
    """The one-run audit; ``epsilon`` is the ε_lb of Steinke et al. 2023, ``refuted`` by the f-DP version."""

    runs: int
    coins: int
    guesses: int
    correct: int
    epsilon: float
    epsilon_by_curve: float
    refuted: bool


class ControlReport(Frozen):
    """A control; ``by`` says what judged it."""

    name: Name
    must: Literal["pass", "flag"]
    by: str
    as_expected: bool
    detail: str


class AuditReport(Frozen):
    """Everything ``dpib audit`` found. It can refute; it never verifies.

    Attributes:
        events: what the method charged, with the claimed ε at ``delta``.
        level: of each test, so that all together are wrong with probability at most 5 %.
        epsilon_lb: largest lower bound over games; 0 if none was played.
        power: against half noise; None if it could not be measured, then ``power_method`` says why.
        reasons: why it is refuted or void.
        cpu_seconds_per_run: of the method, with the replays of its queries.
    """

    schema_version: Literal[1] = 1
    created: str
    method: AuditedMethod
    core_digest: Digest
    suite_version: int
    profile: ProfileName
    relation: Relation = Relation.ADD_OR_REMOVE_ONE
    target_epsilon: float
    delta: float
    events: tuple[dict[str, Any], ...]
    claimed_epsilon: float
    level: float
    games: tuple[GameReport, ...]
    copies: CopyReport
    one_run: OneRunReport | None
    controls: tuple[ControlReport, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    epsilon_lb: float
    power: float | None = Field(ge=0, le=1)
    power_method: str
    seconds: float
    cpu_seconds_per_run: float | None

    @model_validator(mode="after")
    def _reasons_belong_to_a_verdict(self) -> Self:
        if (self.verdict == "not refuted") == bool(self.reasons):
            raise ValueError("reasons are given for 'refuted' and 'void', and only then")
        return self

    @property
    def statement(self) -> str:
        """The result in one line."""
        if self.verdict != "not refuted":
            return f"{self.verdict}: {'; '.join(self.reasons)}"
        power = "power not measured" if self.power is None else f"power {self.power:.2f}"
        return f"not refuted at ε_lb = {self.epsilon_lb:.2f} (95 %), {power}"

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_text_atomically(path, self.model_dump_json(indent=1) + "\n")


def now() -> str:
    """Return the present time, UTC, ISO 8601."""
    return datetime.now(tz=UTC).isoformat(timespec="seconds")


def load_report(path: Path) -> AuditReport:
    """Read a report.

    Raises:
        RecordError: if it is missing or malformed.
    """
    try:
        return AuditReport.model_validate_json(path.read_text())
    except OSError as error:
        raise RecordError(f"No audit report at {path}: {error.strerror}.") from error
    except ValidationError as error:
        raise RecordError(f"{path} is not an audit report: {describe_validation_error(error)}.") from error
