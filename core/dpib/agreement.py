"""When a recomputed score confirms a recorded one, and when new runs do. Imports no torch.

Fixed before any submission is looked at; a change of a number here is a change of the rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

ACCURACY_TOLERANCE = 2.0
"""Largest difference in percentage points: a retrained classifier is exact on one machine, not across machines.

Boards show what a review recomputed, so this decides what is refused, not what they show (``docs/decisions/0019``).
"""

STANDARD_ERRORS = 2.0
"""Largest difference in binomial standard errors of the test set, where that is more: fewer than 2,500 images."""

CALIBRATION_TOLERANCE = 1.0
"""Largest difference in percentage points of the calibration error."""

CLASS_TOLERANCE = 5.0
"""Largest difference in percentage points of what is read class by class, on a fraction of the test images."""

RELATIVE_TOLERANCE = 0.02
"""Largest relative difference of every other score."""


def scores_agree(metric: str, recomputed: float | None, recorded: float | None, stderr: float | None = None) -> bool:
    """Return whether two values of a metric count as the same; an undefined one agrees with nothing.

    Args:
        metric: its name.
        recomputed: in its units, percent for accuracies.
        recorded: what a record claims.
        stderr: binomial standard error of the recomputed accuracy, in percentage points.
    """
    if recomputed is None or recorded is None:
        return False
    if metric == "accuracy":
        tolerance = max(ACCURACY_TOLERANCE, STANDARD_ERRORS * (stderr or 0.0))
    elif metric == "calibration-error":
        tolerance = CALIBRATION_TOLERANCE
    elif metric.startswith("accuracy-"):
        tolerance = CLASS_TOLERANCE
    else:
        tolerance = RELATIVE_TOLERANCE * max(abs(recorded), 1.0)
    return abs(recomputed - recorded) <= tolerance


def as_good(best: int, claimed: int, of: int) -> bool:
    """Return whether an epoch may be the best of a training that was rounded otherwise.

    Args:
        best: correct predictions on held-out images after the best epoch here.
        claimed: after the epoch that a record calls the best.
        of: images held out.
    """
    share = best / of
    stderr = 100 * math.sqrt(share * (1 - share) / of)
    return 100 * (best - claimed) / of <= max(ACCURACY_TOLERANCE, STANDARD_ERRORS * stderr)


MIN_REPRODUCTIONS = 3
"""Fewest new seeds that can confirm a score."""

REFUSED_BY_CHANCE = 0.01
"""Largest share of honest submissions whose score falls outside the interval, were seeds normal."""

WIDEST_TOLERANCE = 10.0
"""Percentage points; a wider interval would confirm nearly anything, so it decides nothing: run more seeds."""


def reproduction_tolerance(values: Sequence[float], test_images: int) -> float:
    """Return how far a submitted accuracy may lie from the mean of new runs, in percentage points.

    The submission is one more run, so its distance from the mean of n runs has the variance s²(1 + 1/n). s² is the
    variance of the new runs alone, with Student's quantile for its n - 1 degrees of freedom: methods differ in it by
    more than a factor of 100, and what an author submitted cannot move it (``docs/decisions/0020``). The binomial
    error of the test set is added with the normal quantile: all runs share that set, so it counts too much rather
    than too little, and keeps seeds that agree by luck from refusing an honest run.

    Args:
        values: accuracies of the new runs, in percent.
        test_images: size of the test set.

    Raises:
        ValueError: for fewer than three values or no test image.
    """
    from scipy.stats import norm, t

    n = len(values)
    if n < MIN_REPRODUCTIONS or test_images < 1:
        raise ValueError(f"expected at least {MIN_REPRODUCTIONS} runs and a test set, got {n} and {test_images}")
    mean = fmean(values)
    level = 1 - REFUSED_BY_CHANCE / 2
    seeds = t.ppf(level, n - 1) * math.sqrt(variance(values) * (1 + 1 / n))
    binomial = norm.ppf(level) * math.sqrt(max(mean * (100 - mean), 0.0) / test_images)
    return math.hypot(seeds, binomial)


def is_reproduced(submitted: float, values: Sequence[float], tolerance: float) -> bool | None:
    """Return whether new runs confirm a submitted accuracy; None where the tolerance is too wide to tell."""
    if abs(submitted - fmean(values)) > tolerance:
        return False
    return True if tolerance <= WIDEST_TOLERANCE else None
