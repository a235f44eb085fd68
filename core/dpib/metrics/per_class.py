"""What one accuracy hides: accuracy class by class, what is taken for what, and whether confidence means anything.

All of it is read at the last epoch (TestFix), so nothing is chosen on private or test data. Test accuracies are
statistics of real images and as such not differentially private.
"""

from __future__ import annotations

import csv
import io
import math
from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dpib.files import write_text_atomically
from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import CALIBRATION, CLASS_ACCURACY
from dpib.metrics.training import HELD_OUT_ONE_IN, last_probabilities
from dpib.records import Score

N_BINS = 15
"""Bins of confidence, as wide as one another."""


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return counts (K, K): row = true class, column = predicted class, of ``labels`` and ``predicted`` (N,)."""
    return np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def calibration_error(labels: NDArray[np.int64], probabilities: NDArray[np.float32], n_bins: int = N_BINS) -> float:
    """Return the expected calibration error in [0, 1].

    Images are binned by their highest class probability; the error is the mean over images of the distance between
    a bin's accuracy and its mean confidence.

    Args:
        labels: int64 (N,).
        probabilities: (N, K), rows sum to 1.
        n_bins: bins of equal width, open below and closed above.

    Source:
        Guo et al., 2017, Equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(labels))


class _LastEpoch(Metric):
    """Means over the track's classifiers of what their last predictions on the test images show."""

    @abstractmethod
    def names(self, inputs: EvalInputs) -> tuple[str, ...]:
        """Return the names of the scores."""

    @abstractmethod
    def measure(self, inputs: EvalInputs, classifier: str, probabilities: NDArray[np.float32]) -> Mapping[str, float]:
        """Return the scores of one classifier; a name that is missing has no value."""

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return the means over the classifiers, training those whose predictions are not stored.

        Raises:
            DataError: if a synthetic image or label does not fit the task.
            UnknownName: if the track names a classifier that does not exist.
        """
        inputs.synthetic.check_against(inputs.task.shape, inputs.task.n_classes, "synthetic images")
        if len(inputs.synthetic) < HELD_OUT_ONE_IN:
            reason = f"At least {HELD_OUT_ONE_IN} synthetic images are needed, got {len(inputs.synthetic)}."
            return tuple(self._score(inputs, name, reason=reason) for name in self.names(inputs))
        specs = inputs.track.classifiers_for(inputs.task.dataset)
        found = [self.measure(inputs, spec.name, last_probabilities(inputs, spec)) for spec in specs]
        return tuple(
            self._score(inputs, name, value=sum(one[name] for one in found) / len(found))
            if name in found[0]
            else self._score(inputs, name, reason="The class has no test images.")
            for name in self.names(inputs)
        )

    def _score(
        self, inputs: EvalInputs, name: str, *, value: float | None = None, reason: str | None = None
    ) -> Score:
        classifiers = [spec.name for spec in inputs.track.classifiers_for(inputs.task.dataset)]
        return Score(
            metric=name,
            value=value,
            reason=reason,
            higher_is_better=self.card.higher_is_better,
            n_synthetic=len(inputs.synthetic),
            evaluator=f"mean of {', '.join(classifiers)} after the last epoch",
            seed=inputs.track.evaluation_seed,
        )


class ClassAccuracy(_LastEpoch):
    """``accuracy-class-0`` and so on in percent; the confusion matrices go to ``tables/confusion-<classifier>.csv``."""

    card = CLASS_ACCURACY

    def names(self, inputs: EvalInputs) -> tuple[str, ...]:
        """Return one name per class, in label order, and that of the worst class."""
        return (*(f"accuracy-class-{label}" for label in range(inputs.task.n_classes)), "accuracy-worst-class")

    def measure(self, inputs: EvalInputs, classifier: str, probabilities: NDArray[np.float32]) -> Mapping[str, float]:
        """Return the accuracy of every class that has test images."""
        labels = inputs.splits.test.labels.numpy()
        counts = confusion_matrix(labels, probabilities.argmax(axis=1), inputs.task.n_classes)
        _keep_table(inputs, classifier, counts)
        per_class = {
            f"accuracy-class-{label}": 100 * int(row[label]) / int(row.sum())
            for label, row in enumerate(counts)
            if row.sum()
        }
        return {**per_class, "accuracy-worst-class": min(per_class.values(), default=math.nan)}


class CalibrationError(_LastEpoch):
    """``calibration-error``: expected calibration error in percent over 15 bins; lower is better."""

    card = CALIBRATION

    def names(self, inputs: EvalInputs) -> tuple[str, ...]:
        """Return the one name."""
        return (self.card.name,)

    def measure(self, inputs: EvalInputs, classifier: str, probabilities: NDArray[np.float32]) -> Mapping[str, float]:
        """Return the error of one classifier."""
        return {self.card.name: 100 * calibration_error(inputs.splits.test.labels.numpy(), probabilities)}


def _keep_table(inputs: EvalInputs, classifier: str, counts: NDArray[np.int64]) -> None:
    if inputs.tables is None:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *inputs.task.classes])
    writer.writerows([name, *row] for name, row in zip(inputs.task.classes, counts.tolist(), strict=True))
    inputs.tables.mkdir(parents=True, exist_ok=True)
    write_text_atomically(inputs.tables / f"confusion-{classifier}.csv", text.getvalue())
