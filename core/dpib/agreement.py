"""When a recomputed score confirms a recorded one: one rule for verification and review. Imports no torch."""

from __future__ import annotations

ACCURACY_TOLERANCE = 1.0
"""Largest difference in percentage points: a retrained classifier is exact on one machine, not across machines."""

CLASS_TOLERANCE = 5.0
"""Largest difference in percentage points of what is read class by class, on a fraction of the test images."""

RELATIVE_TOLERANCE = 0.02
"""Largest relative difference of every other score."""


def scores_agree(metric: str, recomputed: float | None, recorded: float | None) -> bool:
    """Return whether two values of a metric count as the same; an undefined one agrees with nothing."""
    if recomputed is None or recorded is None:
        return False
    if metric in ("accuracy", "calibration-error"):
        tolerance = ACCURACY_TOLERANCE
    elif metric.startswith("accuracy-"):
        tolerance = CLASS_TOLERANCE
    else:
        tolerance = RELATIVE_TOLERANCE * max(abs(recorded), 1.0)
    return abs(recomputed - recorded) <= tolerance
