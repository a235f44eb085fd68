"""Repetitions to ranks: mean, interval and rank interval per cell (track, dataset, ε). Imports no torch.

A difference counts only when it exceeds what seeds and the finite test set explain (``uncertainty``).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dpib.machine import usual_hardware
from dpib.query import KEYS
from dpib.uncertainty import PLACE, freedom_of_sum, half_width, half_width_of_difference, seed_variances

MIN_SEEDS = 3
"""Fewer repetitions are shown, not ranked."""

HEADLINE = "accuracy[noisy-senv]"
CELL = ["track", "dataset", "epsilon"]


def surely_better(cell: pd.DataFrame) -> np.ndarray:
    """Return, bool (n, n), whether the row's mean exceeds the column's by more than the interval of their difference.

    Args:
        cell: of ``standings``, one cell; what is not ranked is surely better than nothing, and nothing than it.
    """
    ranked = cell["ranked"].to_numpy(dtype=bool)
    mean, error, freedom = (cell[name].to_numpy() for name in ("mean", "stderr", "freedom"))
    rows, columns = (error[:, None], freedom[:, None]), (error[None, :], freedom[None, :])
    same = cell["source"].to_numpy()[:, None] == cell["source"].to_numpy()[None, :]
    surely = (mean[:, None] - mean[None, :]) > half_width_of_difference(rows, columns, same)
    return np.asarray(surely & ranked[:, None] & ranked[None, :])


def _rank_cell(cell: pd.DataFrame) -> pd.DataFrame:
    """Add rank bounds to one cell: how many are surely better, and how many are not surely worse."""
    ranked, surely = cell["ranked"].to_numpy(dtype=bool), surely_better(cell)
    best = 1 + surely.sum(axis=0)
    worst = ranked.sum() - surely.sum(axis=1)
    return cell.assign(
        rank_best=np.where(ranked, best, 0),
        rank_worst=np.where(ranked, worst, 0),
    )


def _newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the records with a headline score, the newest of each repetition."""
    return frame.dropna(subset=[HEADLINE]).sort_values("created").drop_duplicates([*KEYS, "seed"], keep="last")


def standings(frame: pd.DataFrame, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per cell and method, best by the headline score first.

    Args:
        frame: records as ``dpib.results`` returns them.
        known: all records there are, if ``frame`` is a choice of them: variances over seeds are theirs, so that
            intervals are the same whatever is chosen.

    Returns:
        Columns: the keys, ``mean``, ``stderr``, its degrees of ``freedom`` and the ``source`` of its variance over
        seeds, ``low``, ``high`` (95 %), ``seeds``, ``reference``, ``ranked``, ``rank_best`` and ``rank_worst`` (0 where
        not ranked), ``minutes`` (mean of the runs on the hardware that most of them share). References and methods with
        fewer than three seeds are not ranked. Records with a changed setting (``tuned``) form rows of their own.
    """
    if frame.empty or HEADLINE not in frame:
        uncertainty = ("mean", "stderr", "freedom", "source", "low", "high")
        return pd.DataFrame(columns=[*KEYS, *uncertainty, "seeds", "reference", "ranked"])
    frame, known = (_newest(records) for records in (frame, frame if known is None else known))
    usual = frame.groupby(list(KEYS))["hardware"].transform(usual_hardware)
    frame = frame.assign(minutes=frame["minutes"].where(frame["hardware"] == usual))
    table = frame.groupby(list(KEYS), as_index=False).agg(
        mean=(HEADLINE, "mean"),
        seeds=("seed", "nunique"),
        test_error=("accuracy_stderr", "mean"),
        reference=("reference", "any"),
        spent_epsilon=("spent_epsilon", "max"),
        minutes=("minutes", "mean"),
    )
    over_seeds = seed_variances(known, HEADLINE).loc[pd.MultiIndex.from_frame(table[list(PLACE)])]
    parts = over_seeds["variance"].to_numpy() / table["seeds"], table["test_error"].fillna(0.0) ** 2
    table["stderr"] = np.sqrt(sum(parts))
    table["source"] = over_seeds["source"].to_numpy()
    table["freedom"] = freedom_of_sum(parts, (over_seeds["freedom"], np.full(len(table), np.inf)))
    half = half_width(table["stderr"], table["freedom"])
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    table["ranked"] = ~table["reference"] & (table["seeds"] >= MIN_SEEDS)
    cells = [_rank_cell(cell) for _, cell in table.groupby(CELL, sort=True)]
    return pd.concat(cells).sort_values([*CELL, "mean"], ascending=[True, True, True, False]).reset_index(drop=True)
