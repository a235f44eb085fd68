"""Improved precision and recall: do synthetic features lie among real ones, and the other way round.

Fidelity scores read the real training images without protection: they are not differentially private and serve
benchmarking on public data only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import DENSITY_COVERAGE, PRECISION_RECALL
from dpib.metrics.features import Features, compared_features, too_few_images
from dpib.records import Score

CHUNK = 512
"""Most rows of distances at a time; fewer where a row is long."""
CHUNK_NUMBERS = 8_000_000


@dataclass(frozen=True)
class ManifoldOverlap:
    """How two sets of features overlap.

    Attributes:
        precision: share of synthetic features on the real manifold.
        recall: share of real features on the synthetic manifold.
        density: how many real balls hold a synthetic feature, on average, divided by k; may exceed 1.
        coverage: share of real features whose ball holds a synthetic feature.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_overlap(real: Features, synthetic: Features, neighbours: int, device: str = "cpu") -> ManifoldOverlap:
    """Return improved precision and recall, density and coverage.

    Every feature carries a ball that reaches its ``neighbours``-th nearest other feature of the same set.
    Precision is the share of synthetic features inside or on some real ball, recall the share of real features
    inside or on some synthetic ball. Euclidean distances in float64; memory is one set in float64 and some rows of
    distances.

    Args:
        real: float32 (N, D), N > neighbours.
        synthetic: float32 (M, D), M > neighbours.
        neighbours: k, not counting the feature itself.
        device: where to compute.

    Source:
        Kynkäänniemi et al., 2019, Equations 1 and 2 with k = 3; Naeem et al., 2020, Equations 3 and 4. The published
        reference implementation of the benchmark counts the feature itself (its 4 is k = 3 here) and takes balls as
        open.
    """
    centre = real.mean(axis=0, dtype=np.float64)

    def centred(rows: Features) -> Tensor:
        return torch.from_numpy(rows - centre).to(device)

    synthetic_radii = _radii(centred(synthetic), neighbours)
    real_points = centred(real)
    real_radii = _radii(real_points, neighbours)
    real_norms = _squared_norms(real_points)
    covered = torch.zeros(len(real), dtype=torch.bool, device=device)
    occupied = torch.zeros(len(real), dtype=torch.bool, device=device)
    n_realistic = n_balls = 0
    step = _rows_at_once(len(real))
    for start in range(0, len(synthetic), step):
        rows = slice(start, start + step)
        distances = _squared_distances(centred(synthetic[rows]), real_points, real_norms)
        inside = distances <= real_radii
        n_realistic += int(inside.any(dim=1).sum())
        n_balls += int(inside.sum())
        occupied |= inside.any(dim=0)
        covered |= (distances <= synthetic_radii[rows, None]).any(dim=0)
    return ManifoldOverlap(
        precision=n_realistic / len(synthetic),
        recall=int(covered.sum()) / len(real),
        density=n_balls / (neighbours * len(synthetic)),
        coverage=int(occupied.sum()) / len(real),
    )


def _rows_at_once(n_columns: int) -> int:
    return max(1, min(CHUNK, CHUNK_NUMBERS // n_columns))


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Return per point the squared distance (N,) to its ``neighbours``-th nearest other point.

    Each distance is computed once and serves both of its ends.
    """
    norms, n = _squared_norms(points), len(points)
    nearest = torch.full((n, neighbours), torch.inf, dtype=points.dtype, device=points.device)
    step = _rows_at_once(n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        distances = _squared_distances(points[start:stop], points[start:], norms[start:])
        distances.fill_diagonal_(torch.inf)
        _keep_nearest(nearest[start:stop], distances)
        _keep_nearest(nearest[stop:], distances[:, stop - start :].T)
    return nearest[:, -1]


def _keep_nearest(nearest: Tensor, distances: Tensor) -> None:
    """Update the smallest distances (N, k), ascending, by more distances (N, M)."""
    n, k = nearest.shape
    if n:
        smallest = distances.topk(min(k, distances.shape[1]), dim=1, largest=False).values
        nearest.copy_(torch.cat([nearest, smallest], dim=1).topk(k, dim=1, largest=False).values)


def _squared_norms(points: Tensor) -> Tensor:
    return torch.cat([rows.square().sum(dim=1) for rows in points.split(CHUNK)])


def _squared_distances(left: Tensor, right: Tensor, right_norms: Tensor) -> Tensor:
    norms = _squared_norms(left)[:, None] + right_norms
    return torch.addmm(norms, left, right.T, alpha=-2).clamp_(min=0)


class _Overlap(Metric):
    """Two scores from one pass over the distances. Not differentially private."""

    names: ClassVar[tuple[str, str]]

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return both scores; undefined if the track names no features or there are too few images."""
        features = inputs.track.features
        if features is None:
            return self._scores(inputs, reason="The track names no feature extractor.")
        reason = too_few_images(inputs, features, at_least=features.neighbours + 1)
        if reason:
            return self._scores(inputs, reason=reason)
        compared = compared_features(inputs, features)
        overlap = manifold_overlap(compared.real, compared.synthetic, features.neighbours, inputs.device)
        evaluator = f"{compared.evaluator}, k = {features.neighbours}"
        return self._scores(inputs, overlap, n_synthetic=len(compared.synthetic), evaluator=evaluator)

    def _scores(
        self,
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
                higher_is_better=self.card.higher_is_better,
                n_synthetic=len(inputs.synthetic) if n_synthetic is None else n_synthetic,
                evaluator=evaluator,
            )
            for name in self.names
        )


class PrecisionRecall(_Overlap):
    """``precision`` and ``recall``."""

    card = PRECISION_RECALL
    names = ("precision", "recall")


class DensityCoverage(_Overlap):
    """``density`` and ``coverage``: as precision and recall, but one outlier's large ball counts little."""

    card = DENSITY_COVERAGE
    names = ("density", "coverage")
