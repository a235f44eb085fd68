"""Ranks are claims: they separate methods only where seeds and test set allow it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpib.standings import HEADLINE, standings


def _records(values: dict[str, list[float]], references: tuple[str, ...] = (), **fixed: object) -> pd.DataFrame:
    rows = [
        {
            "track": "lite-v1", "dataset": "mnist", "epsilon": 1.0, "method": method, "variant": "", "public": "none",
            "pretrain": "none", "preludes": "", "tuned": False,
            "seed": seed, "reference": method in references, HEADLINE: value, "accuracy_stderr": 0.3,
            "spent_epsilon": 1.0, "minutes": 5.0, "created": f"2026-01-0{seed + 1}", **fixed,
        }
        for method, scores in values.items()
        for seed, value in enumerate(scores)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_clearly_different_methods_are_ordered_and_close_ones_share_ranks() -> None:
    table = standings(_records({"a": [90, 90.2, 89.8], "b": [80, 80.5, 79.5], "c": [80.2, 79.9, 80.4]}))
    ranks = {row.method: (row.rank_best, row.rank_worst) for row in table.itertuples()}
    assert ranks == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


def test_references_and_fewer_than_three_seeds_are_shown_but_not_ranked() -> None:
    table = standings(_records({"real": [98, 98, 98], "a": [80, 81], "b": [70, 70, 70]}, references=("real",)))
    by = table.set_index("method")
    assert not by.loc["real", "ranked"] and not by.loc["a", "ranked"]
    assert by.loc["b", "rank_best"] == by.loc["b", "rank_worst"] == 1


def test_the_interval_pools_seed_variance_and_adds_the_test_error() -> None:
    table = standings(_records({"a": [79, 80, 81], "b": [58, 60, 62]})).set_index("method")
    pooled = (2 * 1.0 + 2 * 4.0) / 4
    assert table.loc["a", "stderr"] == pytest.approx(np.sqrt(pooled / 3 + 0.3**2))
    assert table.loc["b", "stderr"] == table.loc["a", "stderr"]


def test_a_repeated_seed_counts_once_and_the_newest_record_stands() -> None:
    frame = pd.concat([_records({"a": [10, 20, 30]}), _records({"a": [50]}, created="2027")])
    row = standings(frame).iloc[0]
    assert row["seeds"] == 3 and row["mean"] == pytest.approx((50 + 20 + 30) / 3)


def test_tuned_records_form_a_row_of_their_own() -> None:
    frame = pd.concat([_records({"a": [80, 80, 80]}), _records({"a": [95, 95, 95]}, tuned=True)])
    assert len(standings(frame)) == 2


def test_no_records_give_an_empty_table() -> None:
    assert standings(pd.DataFrame()).empty
