"""Features of image sets, computed once per set and kept on disk; and which images fidelity metrics compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpib.data.images import LabelledImages
from dpib.errors import MetricError
from dpib.machine import core_digest
from dpib.metrics.base import EvalInputs
from dpib.metrics.extractors import FeatureExtractor, build_extractor
from dpib.metrics.stored import Rows, read_rows, write_rows
from dpib.progress import Reporter
from dpib.spec import FeatureSpec

Features = Rows
SUBSET_KEY = 20251


@dataclass(frozen=True)
class ComparedFeatures:
    """Features of the real and the synthetic images that a track compares.

    Attributes:
        evaluator: what computed them, in words.
        identity: of the two image sets, the extractor and dpib's code.
    """

    real: Features
    synthetic: Features
    evaluator: str
    identity: str


def pinned_subset(n_total: int, n_wanted: int | None) -> Tensor:
    """Return which images are compared: the first ``n_wanted`` of a pinned permutation, the same everywhere.

    Args:
        n_total: how many images there are, in their fixed order.
        n_wanted: how many are compared; all of them if None or if there are fewer.

    Returns:
        int64 (min(n_wanted, n_total),) indices.
    """
    draws = np.random.Philox(key=SUBSET_KEY).random_raw(n_total)
    return torch.from_numpy(np.argsort(draws, kind="stable")[:n_wanted])


def needs_extractor(features: FeatureSpec | None, extractor: str) -> str | None:
    """Return why a metric that is defined on one extractor's features has none here, or None."""
    used = features.extractor if features else "none"
    return None if used == extractor else f"Needs features of {extractor}; the track's are {used}."


def too_few_images(inputs: EvalInputs, features: FeatureSpec, at_least: int) -> str | None:
    """Return why the images do not suffice, or None.

    Fewer synthetic images than the track compares give a biased score, so they do not suffice.
    """
    needed = max(features.n_synthetic or 0, at_least)
    if len(inputs.synthetic) < needed:
        return f"At least {needed} synthetic images are needed, got {len(inputs.synthetic)}."
    if len(inputs.splits.train) < at_least:
        return f"At least {at_least} real training images are needed, got {len(inputs.splits.train)}."
    return None


def compared_features(inputs: EvalInputs, features: FeatureSpec) -> ComparedFeatures:
    """Return the features of the pinned subsets of real training images and of synthetic images.

    Raises:
        MetricError: if the extractor's weights are missing or damaged.
        StorageError: if the cache cannot be written.
    """
    extractor = build_extractor(features.extractor, features.input_size, inputs.device)
    train, synthetic = inputs.splits.train, inputs.synthetic
    reference = train[pinned_subset(len(train), features.n_reference)]
    compared = synthetic[pinned_subset(len(synthetic), features.n_synthetic)]
    return ComparedFeatures(
        real=cached_features(reference, extractor, inputs.cache, inputs.reporter, "real images"),
        synthetic=cached_features(compared, extractor, inputs.cache, inputs.reporter, "synthetic images"),
        evaluator=f"{extractor.name} at {extractor.input_size} px, weights sha256:{extractor.digest}, "
        f"{len(reference)} real training images",
        identity="/".join((reference.fingerprint, _identity(compared, extractor))),
    )


def cached_features(
    data: LabelledImages, extractor: FeatureExtractor, cache: Path, reporter: Reporter, what: str
) -> Features:
    """Return the features of these images, from the cache if they are there and undamaged.

    Memory stays bounded by one batch.

    Args:
        data: uint8 images (N, C, H, W); their labels only take part in the identity of the set.
        extractor: computes the features.
        cache: folder; created if missing.
        reporter: told how many images are done.
        what: names the images in progress reports.

    Raises:
        MetricError: if a feature is not a finite number.
        StorageError: if the file cannot be written.
    """
    identity = _identity(data, extractor)
    path = cache / f"{extractor.name}-{extractor.input_size}px-{hashlib.sha256(identity.encode()).hexdigest()}.npy"
    shape = (len(data), extractor.dim)
    stored = read_rows(path, shape)
    return write_rows(path, shape, _extract(data, extractor, reporter, what)) if stored is None else stored


def _identity(data: LabelledImages, extractor: FeatureExtractor) -> str:
    """Return all that features depend on: the code too, or real ones of an old version would be compared with new."""
    return "/".join((data.fingerprint, extractor.name, extractor.digest, str(extractor.input_size), core_digest()))


def _extract(data: LabelledImages, extractor: FeatureExtractor, reporter: Reporter, what: str) -> Iterator[Features]:
    with reporter.task(f"features of {what}", total=len(data)) as task:
        for batch in data.images.split(extractor.batch):
            features = extractor(batch).numpy()
            if not np.isfinite(features).all():
                raise MetricError(f"{extractor.name} gave a feature of {what} that is not a finite number.")
            yield features
            task.advance(len(batch))
