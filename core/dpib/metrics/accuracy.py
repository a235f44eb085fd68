"""Utility: train classifiers on synthetic images only, report their accuracy on real test images.

One training serves all four protocols, which differ in the epoch they report: ``testfix`` the last one, ``synv``
the best on held-out synthetic images, ``noisy-senv`` the one a private query over the validation side chose, and
``senv`` the best on the test set itself, which is neither private nor unbiased and is shown for comparison.
The reported number is always the test accuracy at that epoch; test accuracy is a statistic of real images and as
such not differentially private.

Source: Gong et al., DPImageBench, 2025, Section 5.3.4; what differs is in
``docs/published-evaluations.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dpib.agreement import as_good
from dpib.metrics.base import NO_SELECTION, EvalInputs, Metric
from dpib.metrics.catalog import ACCURACY
from dpib.metrics.training import HELD_OUT_ONE_IN, TrainingCurve, training_curve
from dpib.records import PROTOCOLS, Protocol, Score


class Accuracy(Metric):
    """Accuracy of the track's classifiers by every protocol, in percent: one score each, then their means."""

    card = ACCURACY

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Train each classifier once with the public evaluation seed and read off all protocols.

        Privacy:
            Reads ``splits.test`` for scoring; the validation side only through ``inputs.selector``, which charges.

        Raises:
            DataError: if a synthetic image or label does not fit the task.
            UnknownName: if the track names a classifier that does not exist.
        """
        inputs.synthetic.check_against(inputs.task.shape, inputs.task.n_classes, "synthetic images")
        scores: list[Score] = []
        for spec in inputs.track.classifiers_for(inputs.task.dataset):
            if len(inputs.synthetic) < HELD_OUT_ONE_IN:
                reason = f"At least {HELD_OUT_ONE_IN} synthetic images are needed, got {len(inputs.synthetic)}."
                scores += [_score(inputs, protocol, spec.name, reason=reason) for protocol in PROTOCOLS]
                continue
            scores += protocol_scores(inputs, spec.name, training_curve(inputs, spec, inputs.selector))
        return (*mean_scores(inputs, scores), *scores)


def protocol_scores(inputs: EvalInputs, classifier: str, curve: TrainingCurve) -> list[Score]:
    """Return the four scores of one classifier: test accuracy in percent at the epoch of each protocol.

    Ties go to the earliest epoch; a claimed epoch of SynV is believed if it is as good as the best.
    """
    n_held_out = len(inputs.synthetic) // HELD_OUT_ONE_IN
    epochs: dict[Protocol, int | None] = {
        "noisy-senv": curve.private_epoch,
        "synv": _best_on_held_out(curve.held_out, n_held_out, inputs.claimed.get(classifier)),
        "senv": _first_best(curve.test),
        "testfix": len(curve.test) - 1,
    }
    scores = []
    for protocol, epoch in epochs.items():
        if epoch is None:
            scores.append(_score(inputs, protocol, classifier, reason=NO_SELECTION))
        else:
            share = curve.test[epoch] / len(inputs.splits.test)
            scores.append(_score(inputs, protocol, classifier, share=share, epoch=epoch))
    return scores


def mean_scores(inputs: EvalInputs, scores: Sequence[Score]) -> list[Score]:
    """Return per protocol the mean over classifiers, undefined if one of them is.

    The standard error is that of one classifier at the mean accuracy: an upper bound, since all classifiers answer
    on the same test images.
    """
    means = []
    for protocol in PROTOCOLS:
        of_protocol = [score for score in scores if score.protocol == protocol]
        values = [score.value for score in of_protocol if score.value is not None]
        if len(values) < len(of_protocol):
            reason = next(score.reason for score in of_protocol if score.reason)
            means.append(_score(inputs, protocol, None, reason=reason))
        else:
            means.append(_score(inputs, protocol, None, share=sum(values) / len(values) / 100))
    return means


def _score(
    inputs: EvalInputs,
    protocol: Protocol,
    classifier: str | None,
    *,
    share: float | None = None,
    epoch: int | None = None,
    reason: str | None = None,
) -> Score:
    names = [spec.name for spec in inputs.track.classifiers_for(inputs.task.dataset)]
    stderr = None if share is None else 100 * math.sqrt(share * (1 - share) / len(inputs.splits.test))
    return Score(
        metric=ACCURACY.name,
        value=None if share is None else 100 * share,
        reason=reason,
        higher_is_better=ACCURACY.higher_is_better,
        classifier=classifier,
        protocol=protocol,
        epoch=epoch,
        private_selection=protocol != "senv",
        n_synthetic=len(inputs.synthetic),
        stderr=stderr,
        evaluator=classifier or f"mean of {', '.join(names)}",
        seed=inputs.track.evaluation_seed,
    )


def _best_on_held_out(correct: Sequence[int], of: int, claimed: int | None) -> int:
    best = _first_best(correct)
    if claimed is None or not 0 <= claimed < len(correct):
        return best
    return claimed if as_good(correct[best], correct[claimed], of) else best


def _first_best(correct: Sequence[int]) -> int:
    return max(range(len(correct)), key=lambda epoch: correct[epoch])
