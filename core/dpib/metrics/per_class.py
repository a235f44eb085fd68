"""What one accuracy hides: accuracy class by class, what is taken for what, and whether confidence means anything.

All of it is read at the last epoch (TestFix), so nothing is chosen on private or test data. Test accuracies are
statistics of real images and as such not differentially private.
"""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

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
    """Means over the track's classifiers of what their last predictions on the test images show.

    Attributes:
        undefined: why a score has no value where ``measure`` has none for a classifier.
    """

    undefined: ClassVar[str]

    @abstractmethod
    def measure(self, inputs: EvalInputs, probabilities: NDArray[np.float32]) -> Mapping[str, float | None]:
        """Return the scores of one classifier; None where there is nothing to measure."""

    def keep(self, inputs: EvalInputs, classifier: str, probabilities: NDArray[np.float32]) -> None:
        """Leave a table of one classifier in ``inputs.tables``."""

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return the means over the classifiers, training those whose predictions are not stored.

        Raises:
            DataError: if a synthetic image or label does not fit the task.
            UnknownName: if the track names a classifier that does not exist.
        """
        inputs.synthetic.check_against(inputs.task.shape, inputs.task.n_classes, "synthetic images")
        for what, n, least in (
            ("synthetic", len(inputs.synthetic), HELD_OUT_ONE_IN),
            ("real test", len(inputs.splits.test), 1),
        ):
            if n < least:
                return (
                    self._score(inputs, self.card.name, None, f"At least {least} {what} images are needed, got {n}."),
                )
        found = []
        for spec in inputs.track.classifiers_for(inputs.task.dataset):
            probabilities = last_probabilities(inputs, spec)
            self.keep(inputs, spec.name, probabilities)
            found.append(self.measure(inputs, probabilities))
        return tuple(
            self._score(inputs, name, _mean([one[name] for one in found]), self.undefined) for name in found[0]
        )

    def _score(self, inputs: EvalInputs, name: str, value: float | None, reason: str) -> Score:
        classifiers = [spec.name for spec in inputs.track.classifiers_for(inputs.task.dataset)]
        return Score(
            metric=name,
            value=value,
            reason=reason if value is None else None,
            higher_is_better=self.card.higher_is_better,
            n_synthetic=len(inputs.synthetic),
            evaluator=f"mean of {', '.join(classifiers)} after the last epoch",
            seed=inputs.track.evaluation_seed,
        )


class ClassAccuracy(_LastEpoch):
    """``accuracy-class-0`` and so on in percent; the confusion matrices go to ``tables/confusion-<classifier>.csv``."""

    card = CLASS_ACCURACY
    undefined = "The class has no test images."

    def measure(self, inputs: EvalInputs, probabilities: NDArray[np.float32]) -> Mapping[str, float | None]:
        """Return the accuracy of every class, and of the worst one."""
        labels = inputs.splits.test.labels.numpy()
        right, count = (
            np.bincount(part, minlength=inputs.task.n_classes).tolist()
            for part in (labels[probabilities.argmax(axis=1) == labels], labels)
        )
        shares = [100 * r / n if n else None for r, n in zip(right, count, strict=True)]
        worst = min(share for share in shares if share is not None)
        return {**{f"accuracy-class-{k}": share for k, share in enumerate(shares)}, "accuracy-worst-class": worst}

    def keep(self, inputs: EvalInputs, classifier: str, probabilities: NDArray[np.float32]) -> None:
        """Write the confusion matrix: a row per true class, a column per predicted one."""
        labels = inputs.splits.test.labels.numpy()
        counts = confusion_matrix(labels, probabilities.argmax(axis=1), inputs.task.n_classes)
        if inputs.tables is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true \\ predicted", *inputs.task.classes])
        writer.writerows([name, *row] for name, row in zip(inputs.task.classes, counts.tolist(), strict=True))
        inputs.tables.mkdir(parents=True, exist_ok=True)
        write_text_atomically(inputs.tables / f"confusion-{classifier}.csv", text.getvalue())


class CalibrationError(_LastEpoch):
    """``calibration-error``: expected calibration error in percent over 15 bins; lower is better."""

    card = CALIBRATION
    undefined = "The training of a classifier diverged: its confidence is no number."

    def measure(self, inputs: EvalInputs, probabilities: NDArray[np.float32]) -> Mapping[str, float | None]:
        """Return the error of one classifier; None if its training diverged."""
        if not np.isfinite(probabilities).all():
            return {self.card.name: None}
        return {self.card.name: 100 * calibration_error(inputs.splits.test.labels.numpy(), probabilities)}


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean over classifiers, None if one of them has no value."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if len(defined) == len(values) else None
