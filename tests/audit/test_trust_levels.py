"""Levels 2 and 3 from evidence, and the states that stay visible."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dpib.audit.levels import AuditEvidence, CheckEvidence, Negative, ReproductionEvidence, Subject, standing

CODE, OTHER = "a" * 64, "b" * 64
SUBJECT = Subject(code_digest=CODE, dataset_version="mnist-1", suite_version=2)
DAY, LATER = "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00"


def reproduction(*seeds: int, **changes: Any) -> ReproductionEvidence:
    plain = {"code_digest": CODE, "dataset_version": "mnist-1", "seeds": seeds, "agrees": True, "date": DAY}
    return ReproductionEvidence(**{**plain, **changes})


def check(**changes: Any) -> CheckEvidence:
    plain = {"code_digest": CODE, "suite_version": 2, "profile": "full", "passed": True, "date": DAY}
    return CheckEvidence(**{**plain, **changes})


def audit(**changes: Any) -> AuditEvidence:
    plain = {"code_digest": CODE, "suite_version": 2, "profile": "standard", "verdict": "not refuted", "power": 0.95}
    return AuditEvidence(**{**plain, "date": DAY, **changes})


REPRODUCED = [reproduction(11, 12, 13)]


def level(**evidence: Any) -> int:
    full = {"recomputed": True, "reproductions": REPRODUCED, "checks": [check()], "audits": [audit()], **evidence}
    return standing(SUBJECT, **full).level


def test_full_evidence_gives_level_three_and_names_what_a_reviewer_adds() -> None:
    found = standing(SUBJECT, recomputed=True, reproductions=REPRODUCED, checks=[check()], audits=[audit()])
    assert (found.level, found.negatives) == (3, ())
    assert "reviewers" in found.missing[0]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"recomputed": False}, 0),
        ({"reproductions": []}, 1),
        ({"reproductions": [reproduction(11, 12)]}, 1),
        ({"reproductions": [reproduction(11, 12, 11)]}, 1),
        ({"reproductions": [reproduction(11, 12, 13, code_digest=OTHER)]}, 1),
        ({"reproductions": [reproduction(11, 12, 13, agrees=None)]}, 1),
        ({"reproductions": [*REPRODUCED, reproduction(14, 15, 16, agrees=False)]}, 1),
        ({"checks": []}, 2),
        ({"checks": [check(profile="quick")]}, 2),
        ({"checks": [check(), check(date=LATER, profile="quick")]}, 3),
        ({"checks": [check(), check(profile="quick", passed=False)]}, 2),
        ({"checks": [check(passed=False)]}, 2),
        ({"checks": [check(passed=False, undecided=("sampling",))]}, 2),
        ({"checks": [check(passed=False, failed=("sensitivity",), undecided=("sampling",)), check(date=LATER)]}, 2),
        ({"checks": [check(passed=False), check(date=LATER)]}, 2),
        ({"checks": [check(passed=False, undecided=("sampling",)), check(date=LATER)]}, 3),
        ({"checks": [check(passed=False, failed=("sensitivity",), suite_version=1), check()]}, 3),
        ({"checks": [check(code_digest=OTHER)]}, 2),
        ({"audits": []}, 2),
        ({"audits": [audit(profile="quick")]}, 2),
        ({"audits": [audit(verdict="void")]}, 2),
        ({"audits": [audit(power=None)]}, 2),
        ({"audits": [audit(power=0.89)]}, 2),
        ({"audits": [audit(power=0.5), audit(profile="deep")]}, 3),
        ({"audits": [audit(), audit(verdict="refuted", reasons=("half the noise",))]}, 0),
        ({"withdrawn": Negative(state="withdrawn", reason="by its owner", date=DAY)}, 0),
    ],
)
def test_each_piece_of_evidence_counts(evidence: dict[str, Any], expected: int) -> None:
    assert level(**evidence) == expected


def test_a_refutation_stays_visible_with_reason_and_date() -> None:
    found = standing(SUBJECT, recomputed=True, audits=[audit(verdict="refuted", reasons=("half the noise",))])
    assert found.negatives == (Negative(state="refuted", reason="half the noise", date=DAY),)


def test_evidence_of_an_older_suite_is_stale_and_lifts_nothing() -> None:
    found = standing(
        SUBJECT,
        recomputed=True,
        reproductions=REPRODUCED,
        checks=[check(suite_version=1)],
        audits=[audit(suite_version=1)],
    )
    assert found.level == 2
    assert [one.state for one in found.negatives] == ["stale", "stale"]
    assert "suite version 1" in found.negatives[0].reason


def test_reproductions_on_another_version_of_the_data_are_stale() -> None:
    moved = Subject(code_digest=CODE, dataset_version="mnist-2", suite_version=2)
    found = standing(moved, recomputed=True, reproductions=REPRODUCED)
    assert found.level == 1
    assert [one.state for one in found.negatives] == ["stale"]


def test_a_state_needs_a_reason() -> None:
    with pytest.raises(ValidationError):
        Negative(state="withdrawn", reason="", date=DAY)
