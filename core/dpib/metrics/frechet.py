"""Fréchet distance between Gaussians fitted to features of real and of synthetic images.

Fidelity scores read the real training images without protection: they are not differentially private and serve
benchmarking on public data only.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dpib.errors import MetricError
from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import FD_EFFNET, FD_RANDOM, FID
from dpib.metrics.extractors import EffNetLite0, RandomConv
from dpib.metrics.features import Features, compared_features, needs_extractor, too_few_images
from dpib.records import Score

CHUNK = 1024
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def mean_and_covariance(features: Features) -> tuple[Vector, Matrix]:
    """Return mean (D,) and unbiased covariance (D, D) in float64 of features (N, D), N >= 2, chunk by chunk."""
    chunks = [slice(start, start + CHUNK) for start in range(0, len(features), CHUNK)]
    mean = sum((features[chunk].sum(axis=0, dtype=np.float64) for chunk in chunks), np.zeros(features.shape[1]))
    mean = mean / len(features)
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for chunk in chunks:
        centred = features[chunk].astype(np.float64) - mean
        scatter += centred.T @ centred
    return mean, scatter / (len(features) - 1)


def frechet_distance(mu1: Vector, cov1: Matrix, mu2: Vector, cov2: Matrix) -> float:
    """Return ``|mu1 - mu2|^2 + tr(cov1) + tr(cov2) - 2 tr((cov1^1/2 cov2 cov1^1/2)^1/2)``, at least 0.

    The last trace comes from the eigenvalues of a symmetric matrix in float64, which are real and exist for
    singular covariances too; negative ones are rounding and count as 0.

    Args:
        mu1: mean (D,) of the first Gaussian.
        cov1: its symmetric positive semi-definite covariance (D, D).
        mu2: mean of the second Gaussian.
        cov2: its covariance.

    Raises:
        MetricError: if shapes differ or a number is not finite.

    Source:
        Dowson and Landau, 1982; Heusel et al., 2017, Equation 6.
    """
    dim = len(mu1)
    if (mu1.shape, mu2.shape, cov1.shape, cov2.shape) != ((dim,), (dim,), (dim, dim), (dim, dim)):
        raise MetricError(
            f"Means and covariances differ in size: {mu1.shape}, {cov1.shape}, {mu2.shape}, {cov2.shape}."
        )
    if not all(np.isfinite(part).all() for part in (mu1, mu2, cov1, cov2)):
        raise MetricError("Means and covariances must be finite.")
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    distance = np.square(mu1 - mu2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * cross
    return max(float(distance), 0.0)


class FrechetDistance(Metric):
    """Fréchet distance in the features of one extractor; lower is better. Not differentially private.

    Compares the track's pinned subset of real training images with as many synthetic images as the track says.
    The distance is biased by both numbers, so values of different tracks do not compare.
    """

    extractor: ClassVar[str]

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return one score; undefined if the track uses another extractor or there are too few images."""
        features = inputs.track.features
        reason = needs_extractor(features, self.extractor)
        if features is None or reason:
            return (self._score(inputs, reason=reason),)
        reason = too_few_images(inputs, features, at_least=2)
        if reason:
            return (self._score(inputs, reason=reason),)
        compared = compared_features(inputs, features)
        value = frechet_distance(*mean_and_covariance(compared.real), *mean_and_covariance(compared.synthetic))
        n_synthetic = len(compared.synthetic)
        return (self._score(inputs, value=value, n_synthetic=n_synthetic, evaluator=compared.evaluator),)

    def _score(
        self,
        inputs: EvalInputs,
        *,
        value: float | None = None,
        reason: str | None = None,
        n_synthetic: int | None = None,
        evaluator: str | None = None,
    ) -> Score:
        return Score(
            metric=self.card.name,
            value=value,
            reason=reason,
            higher_is_better=self.card.higher_is_better,
            n_synthetic=len(inputs.synthetic) if n_synthetic is None else n_synthetic,
            evaluator=self.extractor if evaluator is None else evaluator,
        )


class FrechetEffNet(FrechetDistance):
    """``fd-effnet``: in EfficientNet-Lite0 features. Not FID, which is in Inception features."""

    card = FD_EFFNET
    extractor = EffNetLite0.name


class FrechetRandom(FrechetDistance):
    """``fd-random``: in the features of a fixed random network, for demonstrations."""

    card = FD_RANDOM
    extractor = RandomConv.name


class FrechetInception(FrechetDistance):
    """``fid``: in the features of pytorch-fid's Inception."""

    card = FID
    extractor = "inception"
