"""What a check is, and what it may find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dpib.testing.lab import Lab, Trial
from dpib.verdicts import Outcome

__all__ = ["Check", "Finding", "failed", "finished", "not_applicable", "passed", "undecided"]


@dataclass(frozen=True)
class Finding:
    """Outcome of one check and the evidence for it."""

    outcome: Outcome
    detail: str


def passed(detail: str) -> Finding:
    """Say that it holds, and on what evidence."""
    return Finding("passed", detail)


def failed(detail: str) -> Finding:
    """Say what is wrong."""
    return Finding("failed", detail)


def undecided(detail: str) -> Finding:
    """Say why nobody can tell."""
    return Finding("undecided", detail)


def not_applicable(detail: str) -> Finding:
    """Say what the ledger or the reads lack that the rule is about."""
    return Finding("not-applicable", detail)


@dataclass(frozen=True)
class Check:
    """One rule and how it is tried.

    Attributes:
        id: stable name.
        rules: failure classes F1 to F20 (``docs/check.md``), or ``contract``.
        demand: what must hold, one sentence.
        why: why it matters.
        mend: what to do if it does not.
        look: does the work.
        sees_own_noise: whether a method that brings its own noise through ``declared`` can pass. Where not, all it can
            do is fail: what a check does not see it does not praise.
        privacy: whether a method must not declare its failure as expected unless its card says it is not private.
    """

    id: str
    rules: str
    demand: str
    why: str
    mend: str
    look: Callable[[Lab], Finding]
    sees_own_noise: bool = True
    privacy: bool = True

    def run(self, lab: Lab) -> Finding:
        """Return what is found."""
        if lab.first.run is None and self.id != "runs":
            return undecided("the method does not run here")
        finding = self.look(lab)
        if finding.outcome in ("passed", "not-applicable") and lab.declared and not self.sees_own_noise:
            labels = ", ".join(f"'{charge.label}'" for charge in lab.declared)
            return undecided(f"the author vouches for {labels}: what is released there cannot be replayed")
        return finding


def finished(trial: Trial, what: str) -> Finding | None:
    """Return a failure if a run ended with an error, else None."""
    if trial.error is None:
        return None
    return failed(f"{what}: {describe(trial.error)}")


def describe(error: BaseException) -> str:
    """Return one line on an error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
