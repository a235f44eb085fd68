"""Utility: train classifiers on synthetic images only, report their accuracy on real test images.

One training serves all four protocols, which differ in the epoch they report: ``testfix`` the last one, ``synv``
the best on held-out synthetic images, ``noisy-senv`` the one a private query over the validation side chose, and
``senv`` the best on the test set itself, which is neither private nor unbiased and is shown for comparison.
The reported number is always the test accuracy at that epoch; test accuracy is a statistic of real images and as
such not differentially private.

Source: Gong et al., DPImageBench, 2025, Section 5.3.4; deviations in decisions A6 and A7.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.data.images import LabelledImages
from dpib.metrics.base import EpochSelector, EvalInputs, Metric
from dpib.metrics.catalog import ACCURACY
from dpib.metrics.classifiers import build_classifier
from dpib.progress import Reporter
from dpib.records import Protocol, Score
from dpib.spec import ClassifierSpec

HELD_OUT_ONE_IN = 12
"""SynV holds out one synthetic image in twelve: 5,000 of 60,000."""
PREDICT_BATCH = 250
PROTOCOLS: tuple[Protocol, ...] = ("noisy-senv", "synv", "senv", "testfix")
NO_SELECTION = "No epoch was chosen privately: the evaluation was given neither a budget nor a stored choice."


@dataclass(frozen=True)
class TrainingCurve:
    """What one training showed, epoch by epoch.

    Attributes:
        test: correct predictions on the real test images.
        held_out: correct predictions on the held-out synthetic images.
        private_epoch: zero-based epoch that the selector chose; None without a selector.
    """

    test: Sequence[int]
    held_out: Sequence[int]
    private_epoch: int | None


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
        for spec in inputs.track.classifiers:
            if len(inputs.synthetic) < HELD_OUT_ONE_IN:
                reason = f"At least {HELD_OUT_ONE_IN} synthetic images are needed, got {len(inputs.synthetic)}."
                scores += [_score(inputs, protocol, spec.name, reason=reason) for protocol in PROTOCOLS]
                continue
            curve = train_classifier(
                spec,
                inputs.synthetic,
                inputs.splits.test,
                n_classes=inputs.task.n_classes,
                seed=inputs.track.evaluation_seed,
                device=inputs.device,
                reporter=inputs.reporter,
                selector=inputs.selector,
            )
            scores += protocol_scores(inputs, spec.name, curve)
        return (*mean_scores(inputs, scores), *scores)


def train_classifier(
    spec: ClassifierSpec,
    synthetic: LabelledImages,
    test: LabelledImages,
    *,
    n_classes: int,
    seed: int,
    device: str,
    reporter: Reporter,
    selector: EpochSelector | None,
) -> TrainingCurve:
    """Train one classifier on synthetic images and count correct predictions after every epoch.

    Inputs are scaled to [-1, 1], not augmented; the loss is cross-entropy. On a CPU the same inputs give the same
    curve. No global random state is changed.

    Args:
        spec: architecture and recipe.
        synthetic: at least 12 images; one in twelve, chosen by the seed, is held out and not trained on.
        test: real test images; only scored.
        n_classes: K of the task.
        seed: public; fixes initialisation, the held-out share and the order of batches.
        device: where to train.
        reporter: told after each epoch that it is done, and nothing about accuracy.
        selector: sees a prediction function once per epoch; None to leave Noisy SenV undefined.
    """
    ballot = selector.open(spec.name, spec.epochs) if selector else None
    order = torch.randperm(len(synthetic), generator=_generator(seed, spec.name, "held-out"))
    n_held_out = len(synthetic) // HELD_OUT_ONE_IN
    held_out, shown = synthetic[order[:n_held_out]], synthetic[order[n_held_out:]]
    network = _initialise(spec, synthetic.images.shape[1], n_classes, seed).to(device)
    optimizer = _optimizer(spec, network)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, spec.decay_every or spec.epochs, spec.decay_factor)
    batches = _generator(seed, spec.name, "batches")
    predict = _predictor(network, device)
    correct_test, correct_held_out = [], []
    with reporter.task(f"train {spec.name}", total=spec.epochs) as task:
        for _ in range(spec.epochs):
            network.train()
            n_batches = math.ceil(len(shown) / spec.batch_size)
            for index in torch.randperm(len(shown), generator=batches).tensor_split(n_batches):
                loss = F.cross_entropy(network(_scale(shown.images[index], device)), shown.labels[index].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            network.eval()
            correct_test.append(_n_correct(predict, test))
            correct_held_out.append(_n_correct(predict, held_out))
            if ballot:
                ballot.observe(predict)
            task.advance()
    return TrainingCurve(correct_test, correct_held_out, ballot.chosen() if ballot else None)


def protocol_scores(inputs: EvalInputs, classifier: str, curve: TrainingCurve) -> list[Score]:
    """Return the four scores of one classifier: test accuracy in percent at the epoch of each protocol.

    Ties go to the earliest epoch.
    """
    epochs: dict[Protocol, int | None] = {
        "noisy-senv": curve.private_epoch,
        "synv": _first_best(curve.held_out),
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
    names = [spec.name for spec in inputs.track.classifiers]
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


def _first_best(correct: Sequence[int]) -> int:
    return max(range(len(correct)), key=lambda epoch: correct[epoch])


def _generator(seed: int, *purpose: str) -> torch.Generator:
    """Return a CPU generator of its own for each purpose, fixed by the seed."""
    digest = hashlib.sha256("/".join((str(seed), *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _initialise(spec: ClassifierSpec, n_channels: int, n_classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(_generator(seed, spec.name, "init").get_state())
        return build_classifier(spec.name, n_channels, n_classes)


def _optimizer(spec: ClassifierSpec, network: nn.Module) -> torch.optim.Optimizer:
    if spec.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay
    )


def _scale(images: Tensor, device: str) -> Tensor:
    return images.to(device).float() / 127.5 - 1.0


def _predictor(network: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """Return a map from uint8 images (B, C, H, W) to int64 labels (B,) on the device of the images."""

    def predict(images: Tensor) -> Tensor:
        with torch.no_grad():
            labels = [network(_scale(batch, device)).argmax(dim=1) for batch in images.split(PREDICT_BATCH)]
        return torch.cat(labels).to(images.device)

    return predict


def _n_correct(predict: Callable[[Tensor], Tensor], real: LabelledImages) -> int:
    return int((predict(real.images) == real.labels).sum())
