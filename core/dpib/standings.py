"""Repetitions to ranks: mean, interval and rank interval per cell (track, dataset, ε). Imports no torch.

A difference counts only when it exceeds what seeds and the finite test set explain (decisions A8): the interval of
a mean over k seeds has the variance s²/k + e², where s² is the seed variance pooled over all cells of the track and
e the binomial error of the test set.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dpib.query import KEYS

MIN_SEEDS = 3
"""Fewer repetitions are shown, not ranked."""

CONFIDENCE_LEVEL = 0.95

CONFIDENCE = 1.96
"""Half-width of an interval of that level in standard errors."""

HEADLINE = "accuracy[noisy-senv]"
_CELL = ["track", "dataset", "epsilon"]


def _pooled_variance(frame: pd.DataFrame, value: str) -> pd.Series:
    """Return, per track, the seed variance pooled over all cells with at least two seeds; 0 where there are none."""
    groups = frame.groupby(list(KEYS))[value].agg(["var", "count"]).reset_index()
    groups = groups[groups["count"] > 1]
    groups["weighted"] = groups["var"] * (groups["count"] - 1)
    sums = groups.groupby("track")[["weighted", "count"]].sum()
    cells = groups.groupby("track").size()
    return (sums["weighted"] / (sums["count"] - cells)).reindex(frame["track"].unique()).fillna(0.0)


def _rank_cell(cell: pd.DataFrame) -> pd.DataFrame:
    """Add rank bounds to one cell: how many are surely better, and how many are not surely worse."""
    ranked = cell["ranked"].to_numpy()
    mean, error = cell["mean"].to_numpy(), cell["stderr"].to_numpy()
    surely = (mean[:, None] - mean[None, :]) > CONFIDENCE * np.hypot(error[:, None], error[None, :])
    surely &= ranked[:, None] & ranked[None, :]
    best = 1 + surely.sum(axis=0)
    worst = ranked.sum() - surely.sum(axis=1)
    return cell.assign(
        rank_best=np.where(ranked, best, 0),
        rank_worst=np.where(ranked, worst, 0),
    )


def standings(frame: pd.DataFrame, value: str = HEADLINE) -> pd.DataFrame:
    """Return one row per cell and method, best first.

    Args:
        frame: records as ``dpib.results`` returns them.
        value: the column that is compared; higher is better.

    Returns:
        Columns: the keys, ``mean``, ``stderr``, ``low``, ``high`` (95 %), ``seeds``, ``reference``, ``ranked``,
        ``rank_best`` and ``rank_worst`` (0 where not ranked). References and methods with fewer than three seeds
        are not ranked. Records with a changed setting (``tuned``) form rows of their own.
    """
    if frame.empty or value not in frame:
        return pd.DataFrame(columns=[*KEYS, "mean", "stderr", "low", "high", "seeds", "reference", "ranked"])
    frame = frame.dropna(subset=[value])
    frame = frame.sort_values("created").drop_duplicates([*KEYS, "seed"], keep="last")
    pooled = _pooled_variance(frame, value)
    table = (
        frame.groupby(list(KEYS), as_index=False)
        .agg(
            mean=(value, "mean"),
            seeds=("seed", "nunique"),
            test_error=("accuracy_stderr", "mean"),
            reference=("reference", "any"),
            spent_epsilon=("spent_epsilon", "max"),
            minutes=("minutes", "mean"),
        )
        .assign(seed_variance=lambda t: t["track"].map(pooled))
    )
    table["stderr"] = np.sqrt(table["seed_variance"] / table["seeds"] + table["test_error"].fillna(0.0) ** 2)
    table["low"] = table["mean"] - CONFIDENCE * table["stderr"]
    table["high"] = table["mean"] + CONFIDENCE * table["stderr"]
    table["ranked"] = ~table["reference"] & (table["seeds"] >= MIN_SEEDS)
    cells = [_rank_cell(cell) for _, cell in table.groupby(_CELL, sort=True)]
    return pd.concat(cells).sort_values([*_CELL, "mean"], ascending=[True, True, True, False]).reset_index(drop=True)
