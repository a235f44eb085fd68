"""Improved precision and recall: do synthetic features lie among real ones, and the other way round.

Fidelity scores read the real training images without protection: they are not differentially private and serve
benchmarking on public data only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import PRECISION_RECALL
from dpib.metrics.features import Features, compared_features, too_few_images
from dpib.records import Score

CHUNK = 512


@dataclass(frozen=True)
class ManifoldOverlap:
    """Precision and recall, each in [0, 1]."""

    precision: float
    recall: float


def precision_recall(real: Features, synthetic: Features, neighbours: int, device: str = "cpu") -> ManifoldOverlap:
    """Return improved precision and recall.

    Every feature carries a ball that reaches its ``neighbours``-th nearest other feature of the same set.
    Precision is the share of synthetic features inside or on some real ball, recall the share of real features
    inside or on some synthetic ball. Euclidean distances in float64; memory is one chunk of rows.

    Args:
        real: float32 (N, D), N > neighbours.
        synthetic: float32 (M, D), M > neighbours.
        neighbours: k, not counting the feature itself.
        device: where to compute.

    Source:
        Kynkäänniemi et al., 2019, Equations 1 and 2 with k = 3. The published reference implementation of the
        benchmark counts the feature itself (its 4 is k = 3 here) and takes balls as open.
    """
    centre = real.mean(axis=0, dtype=np.float64)
    real_points, synthetic_points = (torch.from_numpy(points - centre).to(device) for points in (real, synthetic))
    real_radii, synthetic_radii = _radii(real_points, neighbours), _radii(synthetic_points, neighbours)
    covered = torch.zeros(len(real), dtype=torch.bool, device=device)
    n_realistic = 0
    for start in range(0, len(synthetic), CHUNK):
        rows = slice(start, start + CHUNK)
        distances = _squared_distances(synthetic_points[rows], real_points)
        n_realistic += int((distances <= real_radii).any(dim=1).sum())
        covered |= (distances <= synthetic_radii[rows, None]).any(dim=0)
    return ManifoldOverlap(n_realistic / len(synthetic), int(covered.sum()) / len(real))


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Return per point the squared distance (N,) to its ``neighbours``-th nearest other point."""
    radii = []
    for start in range(0, len(points), CHUNK):
        distances = _squared_distances(points[start : start + CHUNK], points)
        itself = torch.arange(len(distances), device=points.device)
        distances[itself, itself + start] = torch.inf
        radii.append(distances.kthvalue(neighbours, dim=1).values)
    return torch.cat(radii)


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    norms = left.square().sum(dim=1, keepdim=True) + right.square().sum(dim=1)
    return torch.addmm(norms, left, right.T, alpha=-2).clamp(min=0)


class PrecisionRecall(Metric):
    """Two scores, ``precision`` and ``recall``, from one pass over the distances. Not differentially private."""

    card = PRECISION_RECALL

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return both scores; undefined if the track names no features or there are too few images."""
        features = inputs.track.features
        if features is None:
            return _scores(inputs, reason="The track names no feature extractor.")
        reason = too_few_images(inputs, features, at_least=features.neighbours + 1)
        if reason:
            return _scores(inputs, reason=reason)
        compared = compared_features(inputs, features)
        overlap = precision_recall(compared.real, compared.synthetic, features.neighbours, inputs.device)
        evaluator = f"{compared.evaluator}, k = {features.neighbours}"
        return _scores(inputs, overlap, n_synthetic=len(compared.synthetic), evaluator=evaluator)


def _scores(
    inputs: EvalInputs,
    overlap: ManifoldOverlap | None = None,
    *,
    reason: str | None = None,
    n_synthetic: int | None = None,
    evaluator: str = "",
) -> tuple[Score, ...]:
    return tuple(
        Score(
            metric=name,
            value=getattr(overlap, name) if overlap else None,
            reason=reason,
            higher_is_better=PRECISION_RECALL.higher_is_better,
            n_synthetic=len(inputs.synthetic) if n_synthetic is None else n_synthetic,
            evaluator=evaluator,
        )
        for name in ("precision", "recall")
    )
