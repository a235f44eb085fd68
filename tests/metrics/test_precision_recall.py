"""Precision and recall: a brute-force oracle, extremes, chunking, undefined scores with reasons."""

from __future__ import annotations

import numpy as np
import pytest
from quadrants import quadrant_images

from dpib.metrics import precision_recall as module
from dpib.metrics.precision_recall import DensityCoverage, PrecisionRecall, manifold_overlap


def oracle(real, synthetic, k):
    """The definition, point by point."""

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    def share_inside(points, centres):
        radii = [radius(centres, i) for i in range(len(centres))]
        inside = [any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True)) for p in points]
        return sum(inside) / len(points)

    return share_inside(synthetic, real), share_inside(real, synthetic)


def points(seed, n, shift=0.0, dim=3):
    return (np.random.default_rng(seed).normal(size=(n, dim)) + shift).astype(np.float32)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("tile", [2, 7, 512])
def test_agrees_with_brute_force(monkeypatch, neighbours, tile):
    monkeypatch.setattr(module, "TILE", tile)
    real, synthetic = points(0, 40), points(1, 25, shift=1.0)
    overlap = manifold_overlap(real, synthetic, neighbours)
    assert (overlap.precision, overlap.recall) == oracle(real.astype(float), synthetic.astype(float), neighbours)
    assert 0 < overlap.precision < 1
    assert 0 < overlap.recall < 1


def test_identical_sets_overlap_fully_and_distant_ones_not_at_all():
    real = points(2, 30)
    same, apart = manifold_overlap(real, real.copy(), 3), manifold_overlap(real, real + 100, 3)
    assert (same.precision, same.recall) == (1.0, 1.0)
    assert (apart.precision, apart.recall) == (0.0, 0.0)


def test_one_repeated_real_image_is_precise_but_covers_only_itself():
    real = points(3, 30)
    overlap = manifold_overlap(real, real[:1].repeat(10, axis=0), 3)
    assert (overlap.precision, overlap.recall) == (1.0, 1 / 30)


def test_swapping_the_sets_swaps_the_scores():
    real, synthetic = points(4, 30), points(5, 20, shift=0.7)
    there, back = manifold_overlap(real, synthetic, 2), manifold_overlap(synthetic, real, 2)
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_density_and_coverage_follow_their_definition():
    real, synthetic = points(6, 40), points(7, 25, shift=0.5)
    between = np.linalg.norm(synthetic[:, None].astype(float) - real.astype(float), axis=2)
    within = np.linalg.norm(real[:, None].astype(float) - real.astype(float), axis=2)
    inside = between <= np.sort(within, axis=1)[:, 3]
    overlap = manifold_overlap(real, synthetic, 3)
    assert overlap.density == pytest.approx(inside.sum() / (3 * 25))
    assert overlap.coverage == inside.any(axis=0).mean()


def test_coverage_is_a_metric_of_its_own(make_inputs):
    scores = DensityCoverage().compute(make_inputs())
    assert [score.metric for score in scores] == ["density", "coverage"]
    assert all(0 < score.value <= 2 for score in scores)


def test_both_metrics_come_from_one_pass(make_inputs, monkeypatch):
    first = PrecisionRecall().compute(make_inputs())
    monkeypatch.setattr(module, "manifold_overlap", lambda *_: pytest.fail("computed again"))
    assert PrecisionRecall().compute(make_inputs()) == first
    assert all(score.value is not None for score in DensityCoverage().compute(make_inputs()))
    with pytest.raises(pytest.fail.Exception):
        DensityCoverage().compute(make_inputs(quadrant_images(70, 5)))


def test_metric_returns_both_scores(make_inputs):
    scores = PrecisionRecall().compute(make_inputs())
    assert [score.metric for score in scores] == ["precision", "recall"]
    assert all(0.5 < score.value <= 1 and score.higher_is_better and score.n_synthetic == 64 for score in scores)
    assert all(score.evaluator.endswith("80 real training images, k = 3") for score in scores)
    assert PrecisionRecall().compute(make_inputs()) == scores


def test_undefined_scores_carry_reasons(make_inputs, track):
    few = PrecisionRecall().compute(make_inputs(quadrant_images(10, 1)))
    assert {score.reason for score in few} == {"At least 64 synthetic images are needed, got 10."}
    features = track.features.model_copy(update={"n_synthetic": None})
    fewer = PrecisionRecall().compute(
        make_inputs(quadrant_images(3, 1), track=track.model_copy(update={"features": features}))
    )
    assert {score.reason for score in fewer} == {"At least 4 synthetic images are needed, got 3."}
    none = PrecisionRecall().compute(make_inputs(track=track.model_copy(update={"features": None})))
    assert {score.reason for score in none} == {"The track names no feature extractor."}
