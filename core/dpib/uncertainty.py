"""What seeds and a finite test set leave uncertain: intervals of means and of differences. Imports no torch.

The mean over k seeds has the variance s²/k + e²: s² is the method's own variance over seeds, pooled over its cells of
the track, e the binomial error of the test set. Quantiles are Student's, with the degrees of freedom of s² by Welch
and Satterthwaite, so a variance known from few seeds widens an interval as it must.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dpib.query import KEYS

LEVEL = 0.95


def seed_variances(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return ``variance`` and ``freedom`` by track and method.

    A method without two seeds in any cell takes what all methods of its track have together; a track without any is
    taken to have none: variance 0, infinitely many degrees.
    """
    cells = frame.groupby(list(KEYS))[value].agg(["var", "count"]).reset_index().query("count > 1")
    cells = cells.assign(freedom=cells["count"] - 1, squares=cells["var"] * (cells["count"] - 1))
    sums = ["squares", "freedom"]
    of_method, of_track = cells.groupby(["track", "method"])[sums].sum(), cells.groupby("track")[sums].sum()
    known = {}
    for pair in set(zip(frame["track"], frame["method"], strict=True)):
        squares, freedom = next(
            (tuple(table.loc[key]) for table, key in ((of_method, pair), (of_track, pair[0])) if key in table.index),
            (0.0, np.inf),
        )
        known[pair] = (squares / freedom, float(freedom))
    index = pd.MultiIndex.from_tuples(known, names=["track", "method"])
    return pd.DataFrame(known.values(), index=index, columns=["variance", "freedom"])


def freedom_of_sum(parts: Any, freedoms: Any) -> Any:
    """Return the degrees of freedom of a sum of independent variances (Welch and Satterthwaite).

    Args:
        parts: the variances, along the first axis.
        freedoms: the degrees of each; infinite for one that is known.
    """
    parts = np.asarray(parts, dtype=float)
    uncertain = (parts**2 / np.asarray(freedoms, dtype=float)).sum(axis=0)
    return np.divide(parts.sum(axis=0) ** 2, uncertain, out=np.full(np.shape(uncertain), np.inf), where=uncertain > 0)


def half_width(stderr: Any, freedom: Any, intervals: int = 1) -> Any:
    """Return the half-width of 95 % intervals.

    Args:
        stderr: standard errors.
        freedom: their degrees of freedom.
        intervals: how many shall hold together (Bonferroni).
    """
    from scipy.special import stdtrit

    return stdtrit(freedom, 1 - (1 - LEVEL) / 2 / intervals) * stderr


def half_width_of_sum(squares: pd.Series, freedoms: pd.Series, sources: pd.Series) -> float:
    """Return the half-width of the 95 % interval of a sum.

    Args:
        squares: variances of its terms.
        freedoms: their degrees of freedom.
        sources: what each variance was estimated from; terms of one source are wrong together.
    """
    doubt = ((squares / np.sqrt(freedoms)).groupby(sources).sum() ** 2).sum()
    return float(half_width(np.sqrt(squares.sum()), squares.sum() ** 2 / doubt if doubt else np.inf))


def half_width_of_difference(one: tuple[Any, Any], other: tuple[Any, Any], same: Any, intervals: int = 1) -> Any:
    """Return the half-width of 95 % intervals of differences.

    Args:
        one: standard errors and degrees of freedom of one side.
        other: of the other.
        same: whether both variances were estimated from the same runs: two settings of one method.
        intervals: how many shall hold together (Bonferroni).
    """
    squares = np.square(one[0]) + np.square(other[0])
    roots = [np.square(stderr) / np.sqrt(freedom) for stderr, freedom in (one, other)]
    doubt = np.where(same, (roots[0] + roots[1]) ** 2, roots[0] ** 2 + roots[1] ** 2)
    freedom = np.divide(squares**2, doubt, out=np.full(np.shape(doubt), np.inf), where=doubt > 0)
    return half_width(np.sqrt(squares), freedom, intervals)
