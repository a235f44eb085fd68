"""Improved precision and recall: do synthetic features lie among real ones, and the other way round.

Fidelity scores read the real training images without protection: they are not differentially private and serve
benchmarking on public data only.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import DENSITY_COVERAGE, PRECISION_RECALL
from dpib.metrics.features import ComparedFeatures, Features, compared_features, too_few_images
from dpib.metrics.stored import read_rows, write_rows
from dpib.records import Score

TILE = 2048
"""Rows and columns of distances at a time."""


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
    inside or on some synthetic ball. Euclidean distances in float64, a tile at a time; each distance within a set is
    computed once. Beside the sets memory holds some tiles.

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

    def tiles(rows: Features) -> _Tiles:
        return _Tiles(rows, centre, device)

    synthetic_radii, real_radii = (_radii(tiles(rows), neighbours) for rows in (synthetic, real))
    covered = torch.zeros(len(real), dtype=torch.bool, device=device)
    occupied = torch.zeros(len(real), dtype=torch.bool, device=device)
    n_realistic = n_balls = 0
    for rows, points in tiles(synthetic):
        realistic = torch.zeros(len(points), dtype=torch.bool, device=device)
        for columns, others in tiles(real):
            distances = _squared_distances(points, others)
            inside = distances <= real_radii[columns]
            realistic |= inside.any(dim=1)
            n_balls += int(inside.sum())
            occupied[columns] |= inside.any(dim=0)
            covered[columns] |= (distances <= synthetic_radii[rows, None]).any(dim=0)
        n_realistic += int(realistic.sum())
    return ManifoldOverlap(
        precision=n_realistic / len(synthetic),
        recall=int(covered.sum()) / len(real),
        density=n_balls / (neighbours * len(synthetic)),
        coverage=int(occupied.sum()) / len(real),
    )


@dataclass(frozen=True)
class _Tiles:
    """Features less a centre, in float64, a tile at a time."""

    rows: Features
    centre: NDArray[np.float64]
    device: str

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        return self.starting_at(0)

    def starting_at(self, first: int) -> Iterator[tuple[slice, Tensor]]:
        for start in range(first, len(self.rows), TILE):
            part = slice(start, min(start + TILE, len(self.rows)))
            yield part, torch.from_numpy(self.rows[part] - self.centre).to(self.device)


def _radii(tiles: _Tiles, neighbours: int) -> Tensor:
    """Return per point the squared distance (N,) to its ``neighbours``-th nearest other point."""
    nearest = torch.full((len(tiles.rows), neighbours), torch.inf, dtype=torch.float64, device=tiles.device)
    for rows, points in tiles:
        for columns, others in tiles.starting_at(rows.start):
            distances = _squared_distances(points, others)
            if rows == columns:
                distances.fill_diagonal_(torch.inf)
            else:
                _keep_nearest(nearest[columns], distances.T)
            _keep_nearest(nearest[rows], distances)
    return nearest[:, -1]


def _keep_nearest(nearest: Tensor, distances: Tensor) -> None:
    """Update the smallest distances (N, k), ascending, by more distances (N, M)."""
    k = nearest.shape[1]
    smallest = distances.topk(min(k, distances.shape[1]), dim=1, largest=False).values
    nearest.copy_(torch.cat([nearest, smallest], dim=1).topk(k, dim=1, largest=False).values)


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    norms = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1)
    return norms.addmm_(left, right.T, alpha=-2).clamp_(min=0)


def _stored_overlap(compared: ComparedFeatures, neighbours: int, inputs: EvalInputs) -> ManifoldOverlap:
    """Return the overlap, from the cache if another metric has computed it for the same features.

    Raises:
        StorageError: if the cache cannot be written.
    """
    key = hashlib.sha256(f"{compared.identity}/{neighbours}".encode()).hexdigest()
    path, shape = inputs.cache / f"overlap-{key}.npy", (1, 8)
    stored = read_rows(path, shape)
    if stored is None:
        overlap = manifold_overlap(compared.real, compared.synthetic, neighbours, inputs.device)
        stored = write_rows(path, shape, [np.array([dataclasses.astuple(overlap)], dtype="<f8").view("<f4")])
    return ManifoldOverlap(*np.array(stored).view("<f8")[0].tolist())


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
        overlap = _stored_overlap(compared, features.neighbours, inputs)
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
