"""When a recomputed score confirms a recorded one, and when new runs do. Imports no torch.

Fixed before any submission is looked at; a change of a number here is a change of the rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ACCURACY_TOLERANCE = 1.0
"""Largest difference in percentage points: a retrained classifier is exact on one machine, not across machines."""

RELATIVE_TOLERANCE = 0.02
"""Largest relative difference of every other score."""


def scores_agree(metric: str, recomputed: float | None, recorded: float | None) -> bool:
    """Return whether two values of a metric count as the same; an undefined one agrees with nothing."""
    if recomputed is None or recorded is None:
        return False
    tolerance = ACCURACY_TOLERANCE if metric == "accuracy" else RELATIVE_TOLERANCE * max(abs(recorded), 1.0)
    return abs(recomputed - recorded) <= tolerance


MIN_REPRODUCTIONS = 3
"""Fewest new seeds that can confirm a score (``privacy.md`` 9)."""

REFUSED_BY_CHANCE = 0.01
"""Share of honest submissions whose score falls outside the interval, were seeds normal and the test set infinite."""

WIDEST_TOLERANCE = 5.0
"""Percentage points; a wider interval would confirm nearly anything, so it decides nothing: run more seeds."""


def reproduction_tolerance(values: Sequence[float], test_images: int) -> float:
    """Return how far a submitted accuracy may lie from the mean of new runs, in percentage points.

    The submission is one more run, so the half-width is that of the prediction interval for one more draw: Student's
    quantile for the n − 1 degrees of freedom that estimate the seed variance s², times √(s²(1 + 1/n) + e²). Here e is
    the binomial error of the test set. All runs share that set, so e counts too much rather than too little; it keeps
    seeds that agree by luck from refusing an honest run.

    Args:
        values: accuracies of the new runs, in percent.
        test_images: size of the test set.

    Raises:
        ValueError: for fewer than three values or no test image.
    """
    from scipy.stats import t

    n = len(values)
    if n < MIN_REPRODUCTIONS or test_images < 1:
        raise ValueError(f"expected at least {MIN_REPRODUCTIONS} runs and a test set, got {n} and {test_images}")
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    binomial = max(mean * (100 - mean), 0.0) / test_images
    return float(t.ppf(1 - REFUSED_BY_CHANCE / 2, n - 1)) * math.sqrt(variance * (1 + 1 / n) + binomial)


def is_reproduced(submitted: float, values: Sequence[float], test_images: int) -> bool | None:
    """Return whether new runs confirm a submitted accuracy; None where they differ too much to tell."""
    tolerance = reproduction_tolerance(values, test_images)
    distance = abs(submitted - sum(values) / len(values))
    if distance > tolerance:
        return False
    return True if tolerance <= WIDEST_TOLERANCE else None
