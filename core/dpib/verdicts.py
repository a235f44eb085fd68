"""What ``dpib check`` found out about a method: verdicts, and where they are kept until a run asks. No torch.

A verdict belongs to code, not to a name: to the sources of the method, the sources of dpib and the version of the
suite. A run whose code has one carries its summary in the record; a run of code that was never checked carries none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from dpib.errors import RecordError
from dpib.files import write_text_atomically
from dpib.spec import Digest, Frozen, Name, describe_validation_error

Outcome = Literal["passed", "failed", "undecided", "not-applicable", "expected-failure"]
Profile = Literal["quick", "full"]
SUITE_VERSION = 3
"""Grows with every change that may turn an outcome."""

_Rules = Annotated[str, StringConstraints(pattern=r"^(?:contract|F\d+(?: F\d+)*)$")]


class CheckResult(Frozen):
    """One check on one method.

    Attributes:
        id: of the check.
        rules: failure classes of the privacy rules it looks for, such as ``"F3 F5"``; or ``"contract"``.
        outcome: ``undecided`` is never a pass; ``not-applicable`` was decided by evidence, given in ``detail``.
        detail: what was found, with numbers.
        demand: what must hold.
        why: why it matters.
        mend: what to do if it does not.
    """

    id: Name
    rules: _Rules
    outcome: Outcome
    detail: str
    demand: str
    why: str
    mend: str


class CheckBlock(Frozen):
    """Summary of a verdict, as a run's record carries it.

    Attributes:
        counts: checks by outcome.
        failed: ids of failed checks, with the rules they stand for: ``"sensitivity (F3 F4 F5 F19)"``.
        undecided: the same for undecided checks.
        date: when the checks were made, UTC.
    """

    suite_version: int = Field(ge=1)
    profile: Profile
    counts: dict[Outcome, int]
    failed: tuple[str, ...]
    undecided: tuple[str, ...]
    date: str


class Verdict(Frozen):
    """Everything one ``dpib check`` found.

    Attributes:
        source_digest: SHA-256 over the sources of the method.
        core_digest: SHA-256 over the sources of dpib.
        date: UTC.
        seconds: what it took.
    """

    method: Name
    source_digest: Digest
    core_digest: Digest
    suite_version: int = Field(default=SUITE_VERSION, ge=1)
    profile: Profile
    date: str
    seconds: float
    results: tuple[CheckResult, ...]

    def with_outcome(self, *outcomes: Outcome) -> tuple[CheckResult, ...]:
        """Return the results with one of these outcomes."""
        return tuple(result for result in self.results if result.outcome in outcomes)

    @property
    def holds(self) -> bool:
        """Whether every check was decided and none failed unexpectedly."""
        return not self.with_outcome("failed", "undecided")

    def summary(self) -> CheckBlock:
        """Return what goes into a record."""
        return CheckBlock(
            suite_version=self.suite_version,
            profile=self.profile,
            counts=dict(sorted(Counter(result.outcome for result in self.results).items())),
            failed=tuple(f"{result.id} ({result.rules})" for result in self.with_outcome("failed")),
            undecided=tuple(f"{result.id} ({result.rules})" for result in self.with_outcome("undecided")),
            date=self.date,
        )


class VerdictStore:
    """Verdicts beside the runs they are about, one file per code and profile.

    Args:
        runs: root of run folders. Verdicts lie in its ``.cache/checks``: a folder the user named, found by every run
            in it, gone with it.
    """

    def __init__(self, runs: Path) -> None:
        self._folder = runs / ".cache" / "checks"

    def _path(self, method: str, source_digest: str, core_digest: str, profile: Profile) -> Path:
        name = f"{source_digest[:16]}-{core_digest[:16]}-v{SUITE_VERSION}-{profile}.json"
        return self._folder / method / name

    def keep(self, verdict: Verdict) -> Path:
        """Write a verdict; it replaces the one of the same code and profile."""
        path = self._path(verdict.method, verdict.source_digest, verdict.core_digest, verdict.profile)
        write_text_atomically(path, json.dumps(verdict.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
        return path

    def find(self, method: str, source_digest: str, core_digest: str) -> Verdict | None:
        """Return the verdict on this very code: one with a failure before all others, then the fullest.

        Raises:
            RecordError: if a file is damaged.
        """
        found = list(self._found(method, source_digest, core_digest))
        return max(found, key=lambda one: (bool(one.with_outcome("failed")), one.profile == "full"), default=None)

    def _found(self, method: str, source_digest: str, core_digest: str) -> Iterator[Verdict]:
        for profile in ("quick", "full"):
            path = self._path(method, source_digest, core_digest, "full" if profile == "full" else "quick")
            if path.exists():
                try:
                    verdict = Verdict.model_validate_json(path.read_bytes())
                except ValidationError as error:
                    problem = describe_validation_error(error)
                    raise RecordError(f"{path} is damaged: {problem}. Delete it and repeat dpib check.") from error
                whose = (verdict.method, verdict.source_digest, verdict.core_digest, verdict.suite_version)
                if whose == (method, source_digest, core_digest, SUITE_VERSION):
                    yield verdict
