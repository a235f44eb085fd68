"""Feature Likelihood Divergence: how likely are held-out images under Gaussians around the synthetic ones.

Fidelity scores read the real images without protection: they are not differentially private and serve benchmarking
on public data only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpib.errors import MetricError, StorageError
from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import FLD
from dpib.metrics.extractors import build_extractor
from dpib.metrics.features import (
    Features,
    cached_features,
    compared_features,
    pinned_subset,
    too_few_images,
)
from dpib.metrics.mixture import Mixture, Standardised
from dpib.records import Score

N_CENTRES = 10_000
"""Synthetic features that become centres."""
AT_LEAST = 4


@dataclass(frozen=True)
class Divergence:
    """Feature Likelihood Divergence, lower is better, evaluated on test features and on training features."""

    test: float
    train: float


def feature_likelihood_divergence(
    train: Features, test: Features, synthetic: Features, scratch: Path, device: str = "cpu"
) -> Divergence:
    """Return FLD in its published form (``test``), and as the paper's benchmark evaluates it (``train``).

    Features are standardised by the test features' mean and deviation; a channel that is constant there is left
    out. Gaussians on 10,000 synthetic features, fitted to the training features, give the held-out features a
    likelihood; it is compared with that under Gaussians on half of the training features fitted to the other half.
    Which synthetic features are centres, which half is which and the order of batches are pinned permutations.

    Args:
        train: float32 (N, D), N >= 4.
        test: float32 (T, D), T >= 2.
        synthetic: float32 (M, D).
        scratch: folder for spooled distances, at most 40,004 N bytes.
        device: where to compute.

    Source:
        Jiralerspong et al., 2023, Equation 5: ``100 (nll - baseline)`` with negative log-likelihoods per dimension.
        ``train`` is what DPImageBench reports: it rewards a generator that repeats its training images.

    Raises:
        MetricError: if no channel of the test features varies.
        StorageError: if distances cannot be spooled.
    """
    centre, scale = test.mean(axis=0, dtype=np.float64), test.std(axis=0, dtype=np.float64, ddof=1)
    varied = scale > 0
    if not varied.any():
        raise MetricError("The features of the test images do not vary.")
    if not varied.all():
        train, test, synthetic, centre, scale = (part[..., varied] for part in (train, test, synthetic, centre, scale))
    real, held_out, generated = (Standardised(rows, centre, scale) for rows in (train, test, synthetic))
    order = pinned_subset(len(train), None)
    n_centres = min(N_CENTRES, len(synthetic))
    n_half = min(n_centres, len(train) // 2)
    try:
        mixture = Mixture(generated.at(pinned_subset(len(synthetic), n_centres)), scratch, device)
        mixture.fit(real, order)
        on_test, on_train = (mixture.negative_log_likelihood(points) for points in (held_out, real))
        baseline = Mixture(real.at(order[:n_half]), scratch, device)
        baseline.fit(real, order[n_half:])
        reachable = baseline.negative_log_likelihood(held_out)
    except OSError as error:
        raise StorageError(f"Cannot spool distances in {scratch}: {error.strerror}.") from error
    return Divergence(test=100 * (on_test - reachable), train=100 * (on_train - reachable))


class FeatureLikelihoodDivergence(Metric):
    """``fld``, on test images as published, and ``fld-train``, on training images as the paper has it."""

    card = FLD

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return both scores; undefined if the track names no features or there are too few images."""
        features = inputs.track.features
        reason = "The track names no feature extractor."
        if features is not None:
            reason = too_few_images(inputs, features, at_least=AT_LEAST) or ""
            if not reason and len(inputs.splits.test) < 2:
                reason = f"At least 2 real test images are needed, got {len(inputs.splits.test)}."
        if features is None or reason:
            return self._scores(len(inputs.synthetic), reason=reason)
        compared = compared_features(inputs, features)
        extractor = build_extractor(features.extractor, features.input_size, inputs.device)
        test = inputs.splits.test[pinned_subset(len(inputs.splits.test), features.n_reference)]
        held_out = cached_features(test, extractor, inputs.cache, inputs.reporter, "test images")
        found = feature_likelihood_divergence(
            compared.real, held_out, compared.synthetic, inputs.cache, device=inputs.device
        )
        evaluator = f"{compared.evaluator}, {len(test)} real test images"
        return self._scores(len(compared.synthetic), found, evaluator=evaluator)

    def _scores(
        self, n_synthetic: int, found: Divergence | None = None, *, reason: str | None = None, evaluator: str = ""
    ) -> tuple[Score, ...]:
        values = {"fld": found.test, "fld-train": found.train} if found else {"fld": None, "fld-train": None}
        return tuple(
            Score(
                metric=name,
                value=value,
                reason=reason,
                higher_is_better=self.card.higher_is_better,
                n_synthetic=n_synthetic,
                evaluator=evaluator,
            )
            for name, value in values.items()
        )
