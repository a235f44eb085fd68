"""One training of one classifier on synthetic images, watched epoch by epoch; its last predictions are kept.

Several metrics read one training: accuracy while it runs, per-class accuracy and calibration from the class
probabilities of its last epoch, which are stored by the content they depend on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from dpib.data.images import LabelledImages
from dpib.machine import core_digest
from dpib.metrics.base import EpochSelector, EvalInputs
from dpib.metrics.classifiers import build_classifier
from dpib.metrics.stored import Rows, read_rows, write_rows
from dpib.privacy.engine.clipping import exact_float32
from dpib.progress import Reporter
from dpib.spec import ClassifierSpec

HELD_OUT_ONE_IN = 12
"""SynV holds out one synthetic image in twelve: 5,000 of 60,000."""
PREDICT_BATCH = 250
Tensors = tuple[Tensor, ...] | list[Tensor]


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


def training_curve(inputs: EvalInputs, spec: ClassifierSpec, selector: EpochSelector | None) -> TrainingCurve:
    """Train a classifier of the track and keep its last predictions on the test images (``last_probabilities``).

    Raises:
        StorageError: if they cannot be stored.
    """
    curve, probabilities = train_classifier(
        spec,
        inputs.synthetic,
        inputs.splits.test,
        n_classes=inputs.task.n_classes,
        seed=inputs.track.evaluation_seed,
        device=inputs.device,
        reporter=inputs.reporter,
        selector=selector,
    )
    path, shape = _place(inputs, spec)
    write_rows(path, shape, [probabilities.numpy()])
    return curve


def last_probabilities(inputs: EvalInputs, spec: ClassifierSpec) -> Rows:
    """Return class probabilities float32 (N, K) of the test images after the last epoch; train if none are stored.

    No epoch is chosen, so nothing private is selected on.
    """
    path, shape = _place(inputs, spec)
    stored = read_rows(path, shape)
    if stored is None:
        training_curve(inputs, spec, selector=None)
        stored = read_rows(path, shape)
        assert stored is not None
    return stored


def _place(inputs: EvalInputs, spec: ClassifierSpec) -> tuple[Path, tuple[int, int]]:
    test, seed = inputs.splits.test, str(inputs.track.evaluation_seed)
    identity = (inputs.synthetic.fingerprint, test.fingerprint, spec.canonical(), seed, core_digest())
    digest = hashlib.sha256("/".join(identity).encode()).hexdigest()
    return inputs.cache / f"{spec.name}-predictions-{digest}.npy", (len(test), inputs.task.n_classes)


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
) -> tuple[TrainingCurve, Tensor]:
    """Train one classifier on synthetic images and count correct predictions after every epoch.

    Inputs are scaled to [-1, 1], not augmented; the loss is cross-entropy. On one machine and device the same inputs
    give the same curve. No global random state is changed.

    Args:
        spec: architecture and recipe.
        synthetic: at least 12 images; one in twelve, chosen by the seed, is held out and not trained on.
        test: real test images; only scored.
        n_classes: K of the task.
        seed: public; fixes initialisation, the held-out share, the order of batches and dropout.
        device: where to train.
        reporter: told after each epoch that it is done, and nothing about accuracy.
        selector: sees a prediction function once per epoch; None to leave Noisy SenV undefined.

    Returns:
        The curve, and the class probabilities float32 (N, K) of the test images after the last epoch.
    """
    ballot = selector.open(spec.name, spec.epochs) if selector else None
    order = torch.randperm(len(synthetic), generator=_generator(seed, spec.name, "held-out"))
    n_held_out = len(synthetic) // HELD_OUT_ONE_IN
    held_out, shown = synthetic[order[:n_held_out]], synthetic[order[n_held_out:]]
    network = _initialise(spec, synthetic.images.shape[1], n_classes, seed).to(device)
    average = _moving_average(network, spec.ema_decay) if spec.ema_decay else None
    evaluated = average.module if average else network
    optimizer = _optimizer(spec, network)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, spec.decay_every or spec.epochs, spec.decay_factor)
    batches = _generator(seed, spec.name, "batches")
    predict = _predictor(evaluated, device)
    correct_test, correct_held_out = [], []
    training = reporter.task(f"train {spec.name}", total=spec.epochs)
    with training as task, _dropout_from(seed, spec.name, device), _repeatable():
        for _ in range(spec.epochs):
            network.train()
            n_batches = math.ceil(len(shown) / spec.batch_size)
            for index in torch.randperm(len(shown), generator=batches).tensor_split(n_batches):
                optimizer.zero_grad()
                for part in index.tensor_split(min(spec.micro_batches, len(index))):
                    logits = network(_scale(shown.images[part], device))
                    loss = F.cross_entropy(logits, shown.labels[part].to(device))
                    (loss * (len(part) / len(index))).backward()
                optimizer.step()
                if average:
                    average.update_parameters(network)
            schedule.step()
            evaluated.eval()
            correct_test.append(_n_correct(predict, test))
            correct_held_out.append(_n_correct(predict, held_out))
            if ballot:
                ballot.observe(predict)
            task.advance()
    curve = TrainingCurve(correct_test, correct_held_out, ballot.chosen() if ballot else None)
    return curve, torch.cat(list(_logits(evaluated, test.images, device))).softmax(dim=1).cpu()


def _generator(seed: int, *purpose: str) -> torch.Generator:
    """Return a CPU generator of its own for each purpose, fixed by the seed."""
    return torch.Generator().manual_seed(_derived(seed, *purpose))


def _derived(seed: int, *purpose: str) -> int:
    digest = hashlib.sha256("/".join((str(seed), *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _initialise(spec: ClassifierSpec, n_channels: int, n_classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(_generator(seed, spec.name, "init").get_state())
        return build_classifier(spec.name, n_channels, n_classes)


@contextmanager
def _dropout_from(seed: int, name: str, device: str) -> Iterator[None]:
    """Draw dropout from the seed, and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        torch.random.set_rng_state(_generator(seed, name, "dropout").get_state())
        if device.startswith("cuda"):
            torch.cuda.default_generators[torch.device(device).index or 0].manual_seed(_derived(seed, name, "dropout"))
        yield


@contextmanager
def _repeatable() -> Iterator[None]:
    """Have a GPU add in a fixed order and in full precision: on one card the same inputs then give the same curve."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with exact_float32():
            yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def _moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a warmed-up exponential moving average of the parameters; buffers are the network's latest.

    Source:
        ``min(decay, (1 + n) / (10 + n))`` at step n = 1, 2, ..., begun at the initial parameters: the rule of
        TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.
    """

    def update(averages: Tensors, current: Tensors, n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(network, multi_avg_fn=update)
    average.n_averaged.fill_(1)  # at 0 it would copy the parameters instead of averaging them
    return average


def _optimizer(spec: ClassifierSpec, network: nn.Module) -> torch.optim.Optimizer:
    if spec.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay
    )


def _scale(images: Tensor, device: str) -> Tensor:
    return images.to(device).float() / 127.5 - 1.0


def _logits(network: nn.Module, images: Tensor, device: str) -> Iterator[Tensor]:
    with torch.no_grad():
        for batch in images.split(PREDICT_BATCH):
            yield network(_scale(batch, device))


def _predictor(network: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """Return a map from uint8 images (B, C, H, W) to int64 labels (B,) on the device of the images."""

    def predict(images: Tensor) -> Tensor:
        labels = [logits.argmax(dim=1) for logits in _logits(network, images, device)]
        return torch.cat(labels).to(images.device)

    return predict


def _n_correct(predict: Callable[[Tensor], Tensor], real: LabelledImages) -> int:
    return int((predict(real.images) == real.labels).sum())
