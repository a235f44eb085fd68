"""Chooses how to tell two worlds apart on one half of the runs, and counts errors on the other (privacy 8.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from dpib.audit.bounds import upper_rate

Scores = NDArray[np.float64]
"""One row per run, one column per feature."""
_FOLDS = 5
_FEWEST_TO_COMBINE = 20


@dataclass(frozen=True)
class Detector:
    """Says "the canary was in" where a weighted sum of features is above a threshold."""

    name: str
    weights: NDArray[np.float64]
    threshold: float

    def accuses(self, scores: Scores) -> NDArray[np.bool_]:
        """Return for each run whether it looks like one with the canary."""
        verdict: NDArray[np.bool_] = scores @ self.weights > self.threshold
        return verdict


@dataclass(frozen=True)
class Rates:
    """Errors on runs that took no part in choosing the detector, with one-sided upper bounds ``a`` and ``b``."""

    n0: int
    n1: int
    false_positives: int
    false_negatives: int
    a: float
    b: float


def halves(scores: Scores) -> tuple[Scores, Scores]:
    """Return the runs for tuning and those for the bound."""
    return scores[: len(scores) // 2], scores[len(scores) // 2 :]


def rates(detector: Detector, without: Scores, within: Scores, level: float) -> Rates:
    """Count errors and bound both rates, each wrongly with probability at most ``level`` / 2."""
    false_positives = int(detector.accuses(without).sum())
    false_negatives = int((~detector.accuses(within)).sum())
    n0, n1 = len(without), len(within)
    a, b = (upper_rate(k, n, level / 2) for k, n in ((false_positives, n0), (false_negatives, n1)))
    return Rates(n0, n1, false_positives, false_negatives, a, b)


@lru_cache(maxsize=32)
def _quantiles(n: int, level: float) -> NDArray[np.float64]:
    """Return Φ⁻¹ of the upper bound of k errors of n, for k = 0..n."""
    return np.asarray(ndtri([upper_rate(k, n, level / 2) for k in range(n + 1)]))


def _best_threshold(without: NDArray[np.float64], within: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the signal-to-noise ratio that the bounds show at the best threshold, and that threshold."""
    values = np.unique(np.concatenate([without, within]))
    cuts = (values[:-1] + values[1:]) / 2
    if not len(cuts):
        return -np.inf, 0.0
    false_positives = len(without) - np.searchsorted(np.sort(without), cuts, side="right")
    false_negatives = np.searchsorted(np.sort(within), cuts, side="right")
    shown = -_quantiles(len(without), level)[false_positives] - _quantiles(len(within), level)[false_negatives]
    ties = np.flatnonzero(shown == shown.max())
    best = ties[len(ties) // 2]
    return float(shown[best]), float(cuts[best])


def tune(without: Scores, within: Scores, level: float, names: tuple[str, ...]) -> Detector:
    """Choose feature, direction and threshold, or a logistic combination judged by cross-validation.

    Args:
        without: runs of world 0 that take no part in the bound.
        within: the same of world 1.
        level: of the bound that will be computed; it shapes the choice, which may be any.
        names: of the features.
    """
    best = (-np.inf, Detector("none", np.zeros(len(names)), 0.0))

    def consider(name: str, weights: NDArray[np.float64], x0: NDArray[np.float64], x1: NDArray[np.float64]) -> None:
        nonlocal best
        shown, threshold = _best_threshold(x0, x1, level)
        if shown > best[0]:
            best = shown, Detector(name, weights, threshold)

    for column, name in enumerate(names):
        for sign, word in ((1.0, ""), (-1.0, "low ")):
            weights = np.zeros(len(names))
            weights[column] = sign
            consider(word + name, weights, sign * without[:, column], sign * within[:, column])
    n0 = len(without)
    if len(names) > 1 and min(n0, len(within)) >= _FEWEST_TO_COMBINE:
        both = np.concatenate([without, within])
        scale = both.std(axis=0)
        scale[scale == 0] = np.inf
        centred = (both - both.mean(axis=0)) / scale
        worlds = np.repeat([0, 1], [n0, len(within)])
        model = LogisticRegression(C=0.1)
        unseen = cross_val_predict(model, centred, worlds, cv=_FOLDS, method="decision_function")
        model.fit(centred, worlds)
        weights = model.coef_[0] / scale
        unseen += float(both.mean(axis=0) @ weights) - float(model.intercept_[0])
        consider("logistic combination", weights, unseen[:n0], unseen[n0:])
    return best[1]


def share_refuted(
    without: Scores,
    within: Scores,
    names: tuple[str, ...],
    curve: Callable[[float], float],
    level: float,
    repetitions: int,
    generator: np.random.Generator,
) -> float:
    """Return in which share of repeated audits of these runs the curve is refuted: the power.

    Each repetition divides the runs anew into a tuning half and a bound half and draws runs of each with replacement
    within its half, so that no run serves both.
    """

    def redrawn(scores: Scores) -> tuple[Scores, Scores]:
        first, second = halves(scores[generator.permutation(len(scores))])
        return first[generator.integers(len(first), size=len(first))], second[
            generator.integers(len(second), size=len(second))
        ]

    refuted = 0
    for _ in range(repetitions):
        (tune0, test0), (tune1, test1) = redrawn(without), redrawn(within)
        found = rates(tune(tune0, tune1, level, names), test0, test1, level)
        refuted += found.b < curve(found.a)
    return refuted / repetitions
