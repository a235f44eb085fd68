"""Fréchet distance: closed forms, identities, agreement with pytorch-fid, undefined scores with reasons."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from pytorch_fid.fid_score import calculate_frechet_distance
from quadrants import quadrant_images

from dpib.errors import MetricError
from dpib.metrics.catalog import METRICS
from dpib.metrics.features import pinned_subset
from dpib.metrics.frechet import FrechetEffNet, FrechetRandom, frechet_distance, mean_and_covariance


def gaussian(seed, dim=12, rank=None):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dim, rank or dim))
    return rng.normal(size=dim), root @ root.T


def test_equal_covariance_leaves_the_squared_distance_of_means():
    mean, cov = gaussian(0)
    assert frechet_distance(mean, cov, mean + 3, cov) == pytest.approx(9 * len(mean))


def test_one_dimension_is_the_textbook_formula():
    one = np.ones(1)
    assert frechet_distance(2 * one, np.diag(9 * one), -one, np.diag(4 * one)) == pytest.approx(9 + (3 - 2) ** 2)


def test_commuting_covariances_compare_their_roots():
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 0.25, 16.0])
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert frechet_distance(np.zeros(3), np.diag(a), np.zeros(3), np.diag(b)) == pytest.approx(expected)


@pytest.mark.parametrize("rank", [12, 3])
def test_identity_is_zero_even_if_singular(rank):
    mean, cov = gaussian(1, rank=rank)
    assert 0 <= frechet_distance(mean, cov, mean, cov) < 1e-5


def test_symmetric_and_rotation_invariant():
    (mu1, cov1), (mu2, cov2) = gaussian(2), gaussian(3)
    distance = frechet_distance(mu1, cov1, mu2, cov2)
    assert frechet_distance(mu2, cov2, mu1, cov1) == pytest.approx(distance)
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(12, 12)))
    turned = frechet_distance(turn @ mu1, turn @ cov1 @ turn.T, turn @ mu2, turn @ cov2 @ turn.T)
    assert turned == pytest.approx(distance)


def test_agrees_with_pytorch_fid():
    (mu1, cov1), (mu2, cov2) = gaussian(5), gaussian(6)
    try:
        reference = calculate_frechet_distance(mu1, cov1, mu2, cov2)
    except TypeError:
        pytest.skip(f"pytorch-fid does not run on SciPy {scipy.__version__}")
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(reference, rel=1e-6)


def test_streaming_moments_equal_numpy_on_offset_data():
    features = (np.random.default_rng(7).normal(size=(2500, 5)) + 1e3).astype(np.float32)
    mean, cov = mean_and_covariance(features)
    assert mean == pytest.approx(features.astype(np.float64).mean(axis=0))
    assert cov == pytest.approx(np.cov(features.astype(np.float64), rowvar=False))


def test_bad_numbers_are_refused():
    mean, cov = gaussian(8)
    with pytest.raises(MetricError, match="differ in size"):
        frechet_distance(mean[:-1], cov, mean, cov)
    with pytest.raises(MetricError, match="finite"):
        frechet_distance(mean * np.nan, cov, mean, cov)


def test_metric_is_zero_on_the_reference_and_grows_with_damage(make_inputs, track):
    train = quadrant_images(120, 2)
    track = track.model_copy(update={"features": track.features.model_copy(update={"n_synthetic": None})})
    same = train[pinned_subset(len(train), 80)]
    [exact] = FrechetRandom().compute(make_inputs(same, train=train, track=track))
    [fresh] = FrechetRandom().compute(make_inputs(quadrant_images(80, 9), train=train, track=track))
    [faint] = FrechetRandom().compute(make_inputs(quadrant_images(80, 9, contrast=10), train=train, track=track))
    assert exact.value == pytest.approx(0, abs=1e-5)
    assert exact.value < fresh.value < faint.value
    assert (fresh.metric, fresh.higher_is_better, fresh.n_synthetic) == ("fd-random", False, 80)
    assert fresh.evaluator.startswith("random-conv at 8 px, weights sha256:")


def test_undefined_scores_carry_reasons(make_inputs, track):
    [other] = FrechetEffNet().compute(make_inputs())
    assert (other.value, other.reason) == (None, "Needs features of effnet-lite0; the track's are random-conv.")
    [none] = FrechetRandom().compute(make_inputs(track=track.model_copy(update={"features": None})))
    assert "the track's are none" in none.reason
    [few] = FrechetRandom().compute(make_inputs(quadrant_images(63, 1)))
    assert few.reason == "At least 64 synthetic images are needed, got 63."
    [lonely] = FrechetRandom().compute(make_inputs(train=quadrant_images(1, 1)))
    assert lonely.reason == "At least 2 real training images are needed, got 1."


@pytest.mark.parametrize("plugin", METRICS, ids=lambda plugin: plugin.card.name)
def test_catalogue_points_at_classes_with_the_same_card(plugin):
    module, _, name = plugin.implementation.partition(":")
    assert getattr(__import__(module, fromlist=[name]), name).card is plugin.card
