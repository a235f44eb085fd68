"""The snapshot ranks once, on the full table, and only what a reviewer has recomputed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from store_maker import make_record, many_records, repeated, review_of, sample_records, write_store

from dpib.records import RunRecord
from dpib_leaderboard.entries import Entry, read_entries
from dpib_leaderboard.paper import TRACK
from dpib_leaderboard.reviews import Review
from dpib_leaderboard.snapshot import build_snapshot

Pairs = Sequence[tuple[RunRecord, dict[str, Any] | None]]


def _snapshot(pairs: Pairs, date: str | None = None) -> dict[str, Any]:
    entries = [Entry(Path(), record, review and Review.from_plain(review)) for record, review in pairs]
    return build_snapshot(entries, "tests", date)


def _rows(pairs: Pairs, **where: Any) -> list[dict[str, Any]]:
    columns = _snapshot(pairs)["rows"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def _row(pairs: Pairs, **where: Any) -> dict[str, Any]:
    (row,) = _rows(pairs, kind="run", **where)
    return row


def test_ranks_are_intervals_and_close_methods_share_a_group() -> None:
    rows = {row["method"]: row for row in _rows(sample_records(), dataset="mnist", epsilon=1.0, kind="run")}
    places = {name: (row["rank_best"], row["rank_worst"], row["tie"]) for name, row in rows.items() if row["ranked"]}
    assert places == {"alpha": (1, 2, 1), "dp-merf": (1, 2, 1), "beta": (3, 3, 2), "attack": (4, 4, 3)}


def test_references_are_shown_and_never_ranked() -> None:
    rows = _rows(sample_records(), dataset="mnist", epsilon=1.0, kind="reference")
    assert {row["method"] for row in rows} == {"real", "uniform"}
    assert not any(row["ranked"] for row in rows) and all(row["mean"] is not None for row in rows)


def test_submitted_scores_are_not_results_until_recomputed() -> None:
    row = _row(repeated("boaster", 99, level=0))
    assert row["level"] == 0 and not row["ranked"] and row["mean"] is None and row["scores"] == {}


def test_the_reviewers_scores_are_shown_not_the_submitted_ones() -> None:
    honest = make_record(accuracy=50)
    inflated = make_record(accuracy=99)
    review = {**review_of(inflated), "scores": review_of(honest)["scores"]}
    assert _row([(inflated, review)])["scores"]["accuracy[noisy-senv]"] == 50


def test_the_reviewers_epsilon_is_shown_rounded_up_not_the_submitted_one() -> None:
    record = make_record(spent=0.9901)
    pair = record, review_of(record, spent_epsilon=0.99900001)
    assert _row([pair])["spent"] == 0.9991
    assert _snapshot([pair])["records"]["spent"] == [0.9991]


def test_a_review_that_found_no_epsilon_ranks_nothing() -> None:
    pairs = [(record, {**(review or {}), "spent_epsilon": None}) for record, review in repeated("dp-merf", 80)]
    assert "spends more" in _row(pairs)["why"]


@pytest.mark.parametrize("change", [{"accepted": False}, {"record": "1" * 64}])
def test_a_refused_record_or_one_with_a_foreign_review_is_no_result(change: dict[str, Any]) -> None:
    record = make_record()
    snapshot = _snapshot([(record, review_of(record, **change))])
    assert "run" not in snapshot["rows"]["kind"]
    assert snapshot["records"]["refused"] == [True]


def test_a_withdrawn_record_stays_visible_with_its_reason_and_without_scores() -> None:
    record = make_record()
    row = _row([(record, review_of(record, invalidated="2026-02-01: wrong data"))])
    assert (row["ranked"], row["level"], row["scores"]) == (False, 0, {})
    assert {one["state"]: one["words"] for one in row["negatives"]}["withdrawn"] == "withdrawn: 2026-02-01: wrong data"


@pytest.mark.parametrize("level", [True, "3", -1, 9, 2.5, None])
def test_a_record_with_a_strange_trust_level_is_left_out(level: Any, tmp_path: Path) -> None:
    record = make_record()
    store = write_store(tmp_path, [(record, review_of(record, trust_level=level))])
    with pytest.warns(UserWarning, match="trust_level"):
        assert read_entries(store) == []


def test_a_review_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    good, bad = make_record(seed=0), make_record(seed=1)
    store = write_store(tmp_path, [(good, review_of(good)), (bad, None)])
    (folder,) = store.glob(f"*/*/*/{bad.id[:16]}")
    (folder / "review.json").mkdir()
    with pytest.warns(UserWarning, match=r"review\.json cannot be read: Is a directory"):
        assert [entry.record.id for entry in read_entries(store)] == [good.id]


@pytest.mark.parametrize("change", [{"spent": 1.02}, {"relation": "replace-one"}, {"delta": 1e-3}])
def test_unequal_epsilon_relation_or_delta_is_never_ranked(change: dict[str, Any]) -> None:
    pairs = [*repeated("dp-merf", 80), *repeated("other", 90, **change)]
    assert not _row(pairs, method="other")["ranked"]
    assert _row(pairs, method="dp-merf")["rank_worst"] == 1


def test_only_a_reviewed_record_replaces_another() -> None:
    old = make_record(accuracy=70)
    new = make_record(accuracy=75, created="2027-01-01T00:00:00+00:00", supersedes=old.id)
    assert len(_rows([(old, review_of(old)), (new, None)], kind="run")) == 2
    row = _row([(old, review_of(old)), (new, review_of(new))])
    assert row["seeds"] == 1 and row["mean"] == 75


def test_a_seed_is_of_the_account_whose_record_was_reviewed_first() -> None:
    """Neither a newer record of somebody else nor one with an earlier date in it takes its place."""
    first = make_record(accuracy=70, account="alice")
    again = make_record(accuracy=72, account="alice", created="2026-01-03T00:00:00+00:00")
    for created in ("2027-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"):
        other = make_record(accuracy=99, account="bob", created=created)
        pairs = [
            (first, review_of(first)),
            (other, review_of(other, reviewed="2026-02-02")),
            (again, review_of(again, reviewed="2026-03-03")),
        ]
        assert (_row(pairs)["seeds"], _row(pairs)["mean"]) == (1, 72)
        reviewed_again = review_of(first, reviewed="2026-05-05", first_reviewed="2026-01-31")
        assert _row([(first, reviewed_again), pairs[1]])["mean"] == 70


def test_an_undefined_score_carries_its_reason() -> None:
    row = _row(repeated("dp-merf", 80))
    assert "recall" not in row["scores"] and row["undefined"]["recall"] == "invented gap"


def test_the_papers_rows_are_marked_unranked_and_say_their_protocol() -> None:
    rows = _rows([], track=TRACK, dataset="mnist", epsilon=1.0)
    assert len(rows) == 14 and not any(row["ranked"] for row in rows) and {row["kind"] for row in rows} == {"paper"}
    merf = next(row for row in rows if row["method"] == "dp-merf")
    assert merf["scores"]["accuracy[senv]"] == 85.1 and merf["scores"]["accuracy[synv]"] == 75.0
    assert "best of three classifiers" in _snapshot([])["cards"]["tracks"][TRACK]["summary"]


def test_the_order_over_a_track_keeps_ties_and_leaves_partial_methods_out() -> None:
    pairs = [*sample_records(), *repeated("partial", 95)]
    overall = _snapshot(pairs)["overall"]["lite-v1"]
    assert overall["cells"] == 4 and overall["enough"]
    found = {one["method"]: (one["best"], one["worst"]) for one in overall["methods"]}
    assert "partial" not in found and found["beta"][0] > 2
    assert found["alpha"] == found["dp-merf"] == (1, 2)


def test_a_budget_that_the_track_does_not_rank_counts_for_nothing_over_it() -> None:
    """Somebody's three seeds at another ε made a cell that nobody else is in: no method was in every cell."""
    pairs = [*sample_records(), *repeated("alone", 50, epsilon=0.37)]
    plain, more = _snapshot(sample_records()), _snapshot(pairs)
    assert more["overall"] == plain["overall"] and more["wins"] == plain["wins"]
    assert plain["overall"]["lite-v1"]["methods"] and plain["wins"]["lite-v1"]["methods"]
    assert _row(pairs, method="alone", epsilon=0.37)["rank_worst"] == 1  # in its own cell it is ranked


def test_a_cell_in_which_hardly_anybody_is_ranked_counts_for_nothing_over_a_track() -> None:
    """Somebody's three seeds in a cell of the track that was empty: no method was in every cell."""
    plain = _snapshot(sample_records())["overall"]
    two = [*repeated("alone", 50, dataset="eurosat"), *repeated("too", 60, dataset="eurosat")]
    assert _snapshot([*sample_records(), *two])["overall"] == plain and plain["lite-v1"]["methods"]
    three = _snapshot([*sample_records(), *two, *repeated("third", 70, dataset="eurosat")])["overall"]
    assert three["lite-v1"]["cells"] == plain["lite-v1"]["cells"] + 1


def test_the_digest_is_of_the_content_and_not_of_the_date() -> None:
    first, second = (_snapshot(sample_records(), date) for date in ("2026-01-01", "2027-01-01"))
    assert first["digest"] == second["digest"] and first["built"] != second["built"]
    assert _snapshot(repeated("dp-merf", 80))["digest"] != first["digest"]


def test_the_snapshot_is_json_without_nan_and_columns_are_of_equal_length() -> None:
    snapshot = _snapshot([*sample_records(), *many_records(20)])
    json.dumps(snapshot, allow_nan=False)
    for table in (snapshot["rows"], snapshot["records"]):
        assert len({len(column) for column in table.values()}) == 1


def test_names_show_no_hidden_or_reversing_characters() -> None:
    row = _row(repeated("dp-merf", 80, title="DP\u202eFREM\u200b\n\x00" + "x" * 500))
    assert row["title"].startswith("DP\ufffdFREM\ufffd\ufffd\ufffdx") and len(row["title"]) == 80
