"""Ranks are claims: they separate methods only where seeds and test set allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from dpib.machine import usual_hardware
from dpib.standings import HEADLINE, standings
from dpib.uncertainty import LEVEL, half_width_of_difference, half_width_of_sum


def _records(values: Mapping[str, Sequence[float]], references: tuple[str, ...] = (), **fixed: object) -> pd.DataFrame:
    rows = [
        {
            "track": "lite-v1", "dataset": "mnist", "epsilon": 1.0, "method": method, "variant": "", "public": "none",
            "pretrain": "none", "preludes": "", "overrides": "",
            "tuned": False, "seed": seed, "reference": method in references, HEADLINE: value, "accuracy_stderr": 0.3,
            "spent_epsilon": 1.0, "minutes": 5.0, "hardware": "a laptop", "created": f"2026-01-0{seed + 1}", **fixed,
        }
        for method, scores in values.items()
        for seed, value in enumerate(scores)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_clearly_different_methods_are_ordered_and_close_ones_share_ranks() -> None:
    table = standings(_records({"a": [90, 90.2, 89.8], "b": [80, 80.5, 79.5], "c": [80.2, 79.9, 80.4]}))
    ranks = {row.method: (row.rank_best, row.rank_worst) for row in table.itertuples()}
    assert ranks == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


def test_a_choice_of_records_has_the_intervals_of_all_of_them() -> None:
    everything = pd.concat([_records({"a": [90, 94, 86]}), _records({"a": [80], "b": [50, 51, 52]}, epsilon=10.0)])
    chosen = everything[everything["epsilon"] == 10.0]
    whole = standings(everything).query("epsilon == 10").set_index("method")
    for known, same in ((everything, True), (None, False)):
        part = standings(chosen, known=known).set_index("method")
        assert np.allclose(part["high"], whole["high"]) is same


def test_references_and_fewer_than_three_seeds_are_shown_but_not_ranked() -> None:
    table = standings(_records({"real": [98, 98, 98], "a": [80, 81], "b": [70, 70, 70]}, references=("real",)))
    by = table.set_index("method")
    assert not by.loc["real", "ranked"] and not by.loc["a", "ranked"]
    assert by.loc["b", "rank_best"] == by.loc["b", "rank_worst"] == 1


def test_minutes_are_of_the_hardware_that_most_seeds_share() -> None:
    records = _records({"a": [79, 80, 81], "b": [58, 60, 62]})
    records.loc[[1, 3, 4], ["hardware", "minutes"]] = "a GPU", 0.5
    assert standings(records).set_index("method")["minutes"].to_dict() == {"a": 5.0, "b": 0.5}
    assert usual_hardware(["b", "a"]) == "a" and usual_hardware(["b", "a", "b"]) == "b"


def test_the_interval_has_the_methods_own_seed_variance_and_the_test_error() -> None:
    table = standings(_records({"a": [79, 80, 81], "b": [58, 60, 62]})).set_index("method")
    assert table.loc["a", "stderr"] == pytest.approx(np.sqrt(1.0 / 3 + 0.3**2))
    assert table.loc["b", "stderr"] == pytest.approx(np.sqrt(4.0 / 3 + 0.3**2))
    assert table.loc["a", "freedom"] == pytest.approx((1 / 3 + 0.09) ** 2 / ((1 / 3) ** 2 / 2))


def test_an_unstable_method_neither_hides_behind_the_others_nor_blurs_them() -> None:
    values = {"steady": [80.0, 80.1, 79.9], "near": [79.0, 79.1, 78.9], "wild": [60.0, 80.0, 70.0]}
    table = standings(_records(values, accuracy_stderr=0.0)).set_index("method")
    half = table["high"] - table["mean"]
    assert half["steady"] < 0.3 and half["wild"] > 20
    assert (table.loc["steady", "rank_worst"], table.loc["near", "rank_worst"]) == (2, 3)  # wild may be better


def test_seeds_are_pooled_over_a_methods_settings_in_one_cell_and_not_over_cells() -> None:
    """How much chance does depends on ε: a spread at one says nothing of another."""
    quiet = pd.concat([_records({"a": [79, 80, 81]}), _records({"a": [58, 60, 62]}, public="p")])
    table = standings(pd.concat([quiet, _records({"a": [10, 30, 50]}, epsilon=0.2)])).set_index(["epsilon", "public"])
    pooled = (2 * 1.0 + 2 * 4.0) / 4
    for public in ("none", "p"):
        assert table.loc[(1.0, public), "stderr"] == pytest.approx(np.sqrt(pooled / 3 + 0.3**2))
    assert table.loc[(0.2, "none"), "stderr"] == pytest.approx(np.sqrt(400 / 3 + 0.3**2))
    assert table["source"].nunique() == 2


def test_one_seed_borrows_from_other_cells_of_its_method_and_else_from_the_track() -> None:
    several = pd.concat([_records({"a": [79, 80, 81]}), _records({"a": [58, 60, 62]}, epsilon=10.0)])
    lonely = [_records({name: [50]}, epsilon=0.2, accuracy_stderr=0.0) for name in ("a", "b")]
    table = (
        standings(pd.concat([several, *lonely, _records({"c": [1, 2]})])).query("epsilon == 0.2").set_index("method")
    )
    of_a, of_all = (2 * 1.0 + 2 * 4.0) / 4, (2 * 1.0 + 2 * 4.0 + 0.5) / 5
    assert table["stderr"].to_dict() == pytest.approx({"a": np.sqrt(of_a), "b": np.sqrt(of_all)})
    assert table["freedom"].to_dict() == pytest.approx({"a": 4, "b": 5})


def test_intervals_are_those_of_welch() -> None:
    """Without a test error: the confidence intervals of scipy's t tests."""
    a, b = [79.0, 80.5, 81.0], [70.0, 70.2, 70.1, 70.5]
    table = standings(_records({"a": a, "b": b}, accuracy_stderr=0.0)).set_index("method")
    for name, values in (("a", a), ("b", b)):
        own = ttest_1samp(values, 0).confidence_interval(LEVEL)
        assert (table.loc[name, "low"], table.loc[name, "high"]) == pytest.approx((own.low, own.high))
    sides = [(table.loc[name, "stderr"], table.loc[name, "freedom"]) for name in ("a", "b")]
    between = ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)
    half = half_width_of_difference(*sides, same=False)
    assert half == pytest.approx((between.high - between.low) / 2)
    assert half_width_of_difference(*sides, same=False, intervals=5) > half


def test_two_settings_of_one_method_are_compared_as_by_students_test_on_pooled_variance() -> None:
    """Their variance is one estimate: its degrees of freedom do not count twice."""
    a, b = [79.0, 80.5, 81.0], [70.0, 70.2, 70.1]
    frame = _records({"m": a}, accuracy_stderr=0.0)
    table = standings(pd.concat([frame, _records({"m": b}, accuracy_stderr=0.0, public="p")]))
    sides = [(row.stderr, row.freedom) for row in table.itertuples()]
    between = ttest_ind(a, b, equal_var=True).confidence_interval(LEVEL)
    expected = (between.high - between.low) / 2
    assert half_width_of_difference(*sides, same=True) == pytest.approx(expected)
    judged = half_width_of_sum(table["stderr"] ** 2, table["freedom"], table["source"])
    assert judged == pytest.approx(expected)


def test_a_repeated_seed_counts_once_and_the_newest_record_stands() -> None:
    frame = pd.concat([_records({"a": [10, 20, 30]}), _records({"a": [50]}, created="2027")])
    row = standings(frame).iloc[0]
    assert row["seeds"] == 3 and row["mean"] == pytest.approx((50 + 20 + 30) / 3)


def test_tuned_records_form_a_row_of_their_own() -> None:
    frame = pd.concat([_records({"a": [80, 80, 80]}), _records({"a": [95, 95, 95]}, tuned=True)])
    assert len(standings(frame)) == 2


def test_no_records_give_an_empty_table() -> None:
    assert standings(pd.DataFrame()).empty
