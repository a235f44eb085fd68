"""Trust levels 2 and 3 come from what the maintainers found out; a refuted claim stays visible and is no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_maker import make_record, review_of

from dpib.audit.levels import AuditEvidence, CheckEvidence
from dpib.errors import RecordError
from dpib.isolation.jail import Protections
from dpib.verdicts import SUITE_VERSION, CheckBlock
from dpib_leaderboard.entries import Entry
from dpib_leaderboard.evidence import read_evidence, weighed
from dpib_leaderboard.reviews import Reproduction, Review
from dpib_leaderboard.snapshot import build_snapshot

RECORD = make_record()
CODE = RECORD.method.source_digest
DAY = "2026-02-03T00:00:00+00:00"
CONFINED = Protections(network="cut", files="confined", processes="namespace", privileges="none")
OPEN = Protections(network="open", files="open", processes="group", privileges="those of the account")


def review(agrees: bool | None = True, protections: Protections = CONFINED, **changes: Any) -> Review:
    new_runs = Reproduction(
        method_digest=CODE,
        seeds=(1, 2, 3),
        values=(80.0, 81.0, 82.0),
        spent_epsilon=(1.0, 1.0, 1.0),
        submitted=81.0,
        tolerance=3.0,
        agrees=agrees,
        protections=protections,
    )
    return Review.from_plain(review_of(RECORD)).model_copy(update={"reproduction": new_runs, **changes})


def check(**changes: Any) -> CheckEvidence:
    plain = {"suite_version": SUITE_VERSION, "profile": "full", "passed": True, "date": DAY}
    return CheckEvidence(**{"code_digest": CODE, **plain, **changes})


def audit(**changes: Any) -> AuditEvidence:
    plain = {"profile": "standard", "verdict": "not refuted", "power": 0.95, "date": DAY}
    return AuditEvidence(**{"code_digest": CODE, "suite_version": SUITE_VERSION, **plain, **changes})


@pytest.mark.parametrize(
    ("found", "evidence", "expected"),
    [
        (review(), [], 2),
        (review(), [check()], 2),
        (review(), [check(), audit()], 3),
        (review(), [check(), audit(power=0.5)], 2),
        (review(), [check(passed=False), audit()], 2),
        (review(agrees=None), [check(), audit()], 1),
        (review(protections=OPEN), [check(), audit()], 1),
        (review(reproduction=None), [check(), audit()], 1),
        (review(), [check(), audit(verdict="refuted", reasons=("half the noise",))], 0),
    ],
)
def test_the_level_is_what_the_evidence_carries(found: Review, evidence: list[Any], expected: int) -> None:
    judged = weighed(found, RECORD, evidence)
    assert judged.trust_level == expected and judged.missing
    assert weighed(judged, RECORD) == judged  # what was found stays


def test_evidence_of_other_code_is_refused() -> None:
    with pytest.raises(RecordError, match="not of the code"):
        weighed(review(), RECORD, [check(code_digest="f" * 64)])


def test_a_file_that_is_no_evidence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(RecordError, match="neither a report"):
        read_evidence(tmp_path / "x.json")
    with pytest.raises(RecordError, match="No evidence at"):
        read_evidence(tmp_path / "nothing.json")


def test_a_refuted_claim_is_shown_with_reason_and_date_and_never_ranked() -> None:
    refuted = weighed(review(), RECORD, [audit(verdict="refuted", reasons=("half the noise",))])
    rows = build_snapshot([Entry(Path(), RECORD, refuted)], "tests")["rows"]
    at = rows["kind"].index("run")
    assert (rows["ranked"][at], rows["level"][at], rows["scores"][at]) == (False, 0, {})
    assert rows["why"][at] == "refuted on 2026-02-03: half the noise"
    assert "refuted" in {one["state"] for one in rows["negatives"][at]}


@pytest.mark.parametrize("passed", [True, False])
def test_the_verdict_of_a_check_is_on_the_board(passed: bool) -> None:
    block = CheckBlock(
        suite_version=1,
        profile="quick",
        counts={},
        failed=() if passed else ("sensitivity (F3)",),
        undecided=(),
        date=DAY,
    )
    own = RECORD.model_copy(update={"check": block})
    for reviewed, words in (
        (review(), "by who ran it"),
        (review(code_checks=(check(passed=passed),)), "by the maintainers"),
    ):
        rows = build_snapshot([Entry(Path(), own, reviewed)], "tests")["rows"]
        found = rows["check"][rows["kind"].index("run")]
        assert found["passed"] is passed and words in found["words"]
