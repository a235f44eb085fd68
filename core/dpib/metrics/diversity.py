"""Does the synthetic set repeat itself, or real images? Nearest neighbours in train and held out, and the copy test."""

from __future__ import annotations

from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import DIVERSITY
from dpib.metrics.copies import copy_test
from dpib.records import Score

HIGHER_IS_BETTER = {
    "distinct-images": True,
    "copies-train": False,
    "copies-held-out": False,
    "neighbours-in-train": False,
    "neighbour-distance-train": True,
    "neighbour-distance-held-out": False,
}
"""Score -> direction. A generator that learned the distribution is as near to held-out images as to training ones."""
EVALUATOR = "pixels averaged to at most 16 a side; held out is the validation side"


class Diversity(Metric):
    """How many images differ, how many real ones are repeated, and where the nearest real images lie.

    Privacy:
        Compares with the training and the validation side exactly: the scores are not differentially private, and
        nothing is chosen by them.
    """

    card = DIVERSITY

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return one score per name of ``HIGHER_IS_BETTER``; undefined if a side is empty.

        Raises:
            DataError: if a synthetic image does not fit the task.
        """
        inputs.synthetic.check_against(inputs.task.shape, inputs.task.n_classes, "synthetic images")
        sides = {"synthetic": inputs.synthetic, "training": inputs.splits.train}
        sides |= {"validation": inputs.splits.validation, "test": inputs.splits.test}
        empty = [name for name, side in sides.items() if not len(side)]
        if empty:
            return _scores(len(inputs.synthetic), reason=f"There are no {' and no '.join(empty)} images.")
        found = copy_test(inputs.synthetic, inputs.splits, test_is_exchangeable=False)
        values = {
            "distinct-images": 100 * found.n_distinct / len(inputs.synthetic),
            "copies-train": float(found.exact_or_near["train"]),
            "copies-held-out": float(found.exact_or_near["validation"]),
            "neighbours-in-train": 100 * found.neighbours.in_train,
            "neighbour-distance-train": found.neighbours.distance_train,
            "neighbour-distance-held-out": found.neighbours.distance_held_out,
        }
        return _scores(len(inputs.synthetic), values)


def _scores(n_synthetic: int, values: dict[str, float] | None = None, reason: str | None = None) -> tuple[Score, ...]:
    return tuple(
        Score(
            metric=name,
            value=values[name] if values else None,
            reason=reason,
            higher_is_better=direction,
            n_synthetic=n_synthetic,
            evaluator=EVALUATOR,
        )
        for name, direction in HIGHER_IS_BETTER.items()
    )
