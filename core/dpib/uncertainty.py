"""What seeds and a finite test set leave uncertain: intervals of means and of differences. Imports no torch.

The mean over k seeds has the variance s²/k + e²: s² is the method's own variance over seeds on that dataset at that ε,
whatever its settings, e the binomial error of the test set. Quantiles are Student's, with the degrees of freedom of s²
by Welch and Satterthwaite, so a variance known from few seeds widens an interval as it must.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dpib.query import KEYS

LEVEL = 0.95


PLACE = ("track", "dataset", "epsilon", "method")
"""What has one variance over seeds: how much a method depends on chance changes with the data and the noise."""
_POOLS = (PLACE, ("track", "method"), ("track",))
"""Where a variance is taken from, the first that has two seeds of one setting."""


def seed_variances(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return ``variance``, ``freedom`` and ``source`` by ``PLACE``.

    A method without two seeds of one setting in a cell takes what its settings in other cells have together, without
    any there what all methods of its track have; a track without any is taken to have none: variance 0, infinitely
    many degrees. ``source`` tells one estimate from another.
    """
    settings = frame.groupby(list(KEYS))[value].agg(["var", "count"]).reset_index().query("count > 1")
    settings = settings.assign(freedom=settings["count"] - 1, squares=settings["var"] * (settings["count"] - 1))
    pools = [settings.groupby(list(pool))[["squares", "freedom"]].sum() for pool in _POOLS]
    places = frame[list(PLACE)].drop_duplicates()
    known = []
    for place in places.to_dict("records"):
        keys = (tuple(place[name] for name in pool) if len(pool) > 1 else place[pool[0]] for pool in _POOLS)
        found = next(((pool.loc[key], key) for pool, key in zip(pools, keys, strict=True) if key in pool.index), None)
        if found is None:
            known.append((0.0, np.inf, ""))
        else:
            sums, key = found
            known.append((sums["squares"] / sums["freedom"], float(sums["freedom"]), str(key)))
    index = pd.MultiIndex.from_frame(places)
    return pd.DataFrame(known, index=index, columns=["variance", "freedom", "source"])


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
        same: whether both variances are one estimate: those of two settings of one method in one cell.
        intervals: how many shall hold together (Bonferroni).
    """
    squares = np.square(one[0]) + np.square(other[0])
    roots = [np.square(stderr) / np.sqrt(freedom) for stderr, freedom in (one, other)]
    doubt = np.where(same, (roots[0] + roots[1]) ** 2, roots[0] ** 2 + roots[1] ** 2)
    freedom = np.divide(squares**2, doubt, out=np.full(np.shape(doubt), np.inf), where=doubt > 0)
    return half_width(np.sqrt(squares), freedom, intervals)
