"""Runs the conformance suite on a method: ``dpib check``, and the same from Python and pytest."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from dpib import catalogue
from dpib.catalogue import InstalledMethod
from dpib.machine import core_digest
from dpib.progress import Reporter
from dpib.testing.checks import CHECKS, Check, Finding
from dpib.testing.lab import Lab
from dpib.verdicts import CheckResult, Outcome, Profile, Verdict

__all__ = ["check_method", "conformance", "explain"]


def check_method(method: InstalledMethod, profile: Profile = "quick", reporter: Reporter | None = None) -> Verdict:
    """Try every check on a method.

    Args:
        method: from ``dpib.catalogue.method``.
        profile: ``quick``: seconds, for every commit. ``full``: at least 200 pairs of neighbours and more crashes.
        reporter: where progress goes.

    Returns:
        The verdict; what went wrong in the method is in it, not raised.

    Raises:
        PluginError: if the class cannot be imported.
    """
    method.load()
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="dpib-check-") as scratch:
        lab = Lab(method, profile, Path(scratch))
        with (reporter or Reporter()).task(f"check {method.card.name}", len(CHECKS)) as task:
            for check in CHECKS:
                results.append(_result(check, lab))
                task.advance(message=check.id)
    return Verdict(
        method=method.card.name,
        source_digest=method.source_digest,
        core_digest=core_digest(),
        profile=profile,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 3),
        results=tuple(results),
    )


def _result(check: Check, lab: Lab) -> CheckResult:
    outcome, detail = _with_expectation(check, lab, check.run(lab))
    return CheckResult(
        id=check.id,
        rules=check.rules,
        outcome=outcome,
        detail=detail,
        demand=check.demand,
        why=check.why,
        mend=check.mend,
    )


def _with_expectation(check: Check, lab: Lab, finding: Finding) -> tuple[Outcome, str]:
    """Apply what the card declares about failures; a declaration that is not needed, or not allowed, is a failure."""
    card = lab.method.card
    reason = card.expected_failures.get(check.id)
    if reason is None:
        return finding.outcome, finding.detail
    if check.privacy and card.private:
        return "failed", f"{finding.detail}; a method that is private by its card cannot expect this to fail ({reason})"
    if finding.outcome == "failed":
        return "expected-failure", f"{finding.detail}; expected: {reason}"
    return "failed", f"expected to fail ({reason}), but {finding.outcome}: {finding.detail}. Drop the declaration"


def explain(verdict: Verdict) -> str:
    """Return, for a person, every check that failed or was not decided: what was found, why it matters, how to mend."""
    parts = [
        f"{result.id} ({result.rules}) {result.outcome}: {result.detail}\n"
        f"  must hold: {result.demand}\n  why: {result.why}\n  mend: {result.mend}"
        for result in verdict.with_outcome("failed", "undecided")
    ]
    return "\n".join(parts)


@cache
def _checked(name: str, plugin: Path | None, profile: Profile) -> Verdict:
    from dpib import plugins

    if plugin is not None:
        plugins.load_file(plugin)
    return check_method(catalogue.method(name), profile)


def conformance(*methods: str, profile: Profile = "quick", plugin: Path | None = None) -> Callable[..., None]:
    """Return a pytest test of each method, to be assigned in a test module.

    ::

        test_check = dpib.testing.conformance("my-method")

    reads ``test_check[my-method]`` and fails with what ``dpib check my-method`` says.

    Args:
        methods: names.
        profile: see ``check_method``.
        plugin: a single file that brings them.
    """
    import pytest

    @pytest.mark.parametrize("method", methods)
    def check(method: str) -> None:
        verdict = _checked(method, plugin, profile)
        assert verdict.holds, "\n" + explain(verdict)

    result: Any = check
    return result  # type: ignore[no-any-return]
