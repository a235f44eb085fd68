"""The win matrix counts cells in which one rank interval lies before another; overall ranks stay small in memory."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpib_leaderboard import wins
from dpib_leaderboard.overall import MIN_METHODS, overall_standings
from dpib_leaderboard.wins import MIN_CELLS, win_matrices

CELLS = [("mnist", 1.0), ("mnist", 10.0), ("fashion-mnist", 1.0), ("fashion-mnist", 10.0)]
Interval = tuple[int, int] | None


def _rows(table: dict[str, list[Interval]], track: str = "lite-v1") -> list[dict[str, Any]]:
    return [
        {
            "track": track, "dataset": dataset, "epsilon": epsilon, "method": method, "variant": "", "public": "none",
            "pretrain": "none", "preludes": "", "overrides": "", "tuned": False, "mean": 50.0,
            "ranked": interval is not None,
            "rank_best": interval[0] if interval else 0, "rank_worst": interval[1] if interval else 0,
        }
        for method, intervals in table.items()
        for (dataset, epsilon), interval in zip(CELLS, intervals, strict=True)
    ]  # fmt: skip


def test_a_hand_computed_matrix() -> None:
    """A beats B in the first cell only (1 before 2-3; 1-2 overlaps; B first; B absent), C in the first three."""
    table: dict[str, list[Interval]] = {
        "a": [(1, 1), (1, 2), (2, 2), (1, 2)],
        "b": [(2, 3), (1, 2), (1, 1), None],
        "c": [(2, 3), (3, 3), (3, 3), (1, 2)],
    }
    found = win_matrices(_rows(table))["lite-v1"]
    assert [one["method"] for one in found["methods"]] == ["a", "b", "c"] and found["left_out"] == 0
    assert found["wins"] == [[0, 1, 3], [1, 0, 2], [0, 0, 0]]
    assert found["common"] == [[0, 3, 4], [3, 0, 3], [4, 3, 0]]


def test_too_few_methods_or_cells_fill_nothing() -> None:
    two: dict[str, list[Interval]] = {"a": [(1, 1)] * 4, "b": [(2, 2)] * 4}
    apart: dict[str, list[Interval]] = {**two, "c": [(3, 3), (3, 3), None, None]}
    for table in (two, apart):
        found = win_matrices(_rows(table))["lite-v1"]
        assert found == {"methods": [], "left_out": 0, "wins": [], "common": []}
    assert win_matrices([]) == {}


def test_tracks_never_mix_and_an_outsider_is_not_listed() -> None:
    full: list[Interval] = [(1, 1)] * 4
    table: dict[str, list[Interval]] = {
        "a": full,
        "b": [(2, 2)] * 4,
        "c": [(3, 3)] * 4,
        "d": [(4, 4), None, None, None],
    }
    found = win_matrices([*_rows(table), *_rows({"a": full, "b": full}, track="demo-v1")])
    assert [one["method"] for one in found["lite-v1"]["methods"]] == ["a", "b", "c"]
    assert found["demo-v1"]["methods"] == []


def test_a_long_matrix_is_cut_to_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wins, "MAX_METHODS", 4)
    found = win_matrices(_rows({f"m{i}": [(i, i)] * 4 for i in range(1, 8)}))["lite-v1"]
    assert [one["method"] for one in found["methods"]] == ["m1", "m2", "m3", "m4"] and found["left_out"] == 3
    assert np.shape(found["wins"]) == (4, 4)


intervals = st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(0, 3)).map(lambda p: (p[0], p[0] + p[1])))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(intervals, min_size=4, max_size=4), max_size=6))
def test_wins_never_exceed_common_cells_and_every_listed_method_has_enough_peers(
    table: dict[str, list[Interval]],
) -> None:
    found = win_matrices(_rows(table)).get("lite-v1", {"methods": [], "wins": [], "common": []})
    names = [one["method"] for one in found["methods"]]
    for (i, a), (j, b) in itertools.permutations(enumerate(names), 2):
        pairs = [(x, y) for x, y in zip(table[a], table[b], strict=True) if x and y]
        assert found["common"][i][j] == len(pairs)
        assert found["wins"][i][j] == sum(x[1] < y[0] for x, y in pairs)
    shared = [
        group
        for group in itertools.combinations(sorted(table), MIN_METHODS)
        if sum(all(table[name][k] for name in group) for k in range(4)) >= MIN_CELLS
    ]
    assert set(names) == {name for group in shared for name in group}


def test_settings_that_were_changed_otherwise_in_each_cell_are_not_one_method() -> None:
    """Tuned anew for every cell, one method would be first in all of them."""
    everywhere: dict[str, list[Interval]] = {"a": [(2, 2)] * 4, "b": [(3, 3)] * 4, "c": [(4, 4)] * 4}
    tuned = [
        row | {"overrides": f'{{"scale":{number}}}', "tuned": True}
        for number, row in enumerate(_rows({"a": [(1, 1)] * 4}))
    ]
    rows = [*_rows(everywhere), *tuned]
    for found in (overall_standings(rows), win_matrices(rows)):
        assert [(one["method"], one["tuned"]) for one in found["lite-v1"]["methods"]] == [(n, False) for n in "abc"]


def test_a_large_track_is_ordered_within_a_bounded_memory() -> None:
    """All pairs in all resamples at once would take 4.5 GB here."""
    table: dict[str, list[Interval]] = {f"m{i:04d}": [(i + 1, i + 1)] * 4 for i in range(1500)}
    methods = overall_standings(_rows(table))["lite-v1"]["methods"]
    assert [(one["best"], one["worst"]) for one in methods] == [(i + 1, i + 1) for i in range(1500)]
