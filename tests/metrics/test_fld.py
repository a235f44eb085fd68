"""FLD: the fit against plain automatic differentiation, orderings, and what memorising does to both variants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dpib.errors import MetricError
from dpib.metrics import fld as module
from dpib.metrics import mixture
from dpib.metrics.fld import FeatureLikelihoodDivergence, feature_likelihood_divergence
from dpib.metrics.mixture import Mixture, Standardised


def points(seed, n, shift=0.0, dim=6):
    return (np.random.default_rng(seed).normal(size=(n, dim)) + shift).astype(np.float32)


def plain(rows):
    return Standardised(rows, np.zeros(rows.shape[1]), np.ones(rows.shape[1]))


def fitted_by_autograd(centres, rows, held_out, n_epochs, batch):
    """The published objective, written down once more with torch's own gradients."""
    centres, rows, held_out = (torch.from_numpy(one).double() for one in (centres, rows, held_out))
    dim = rows.shape[1]
    squared = torch.cdist(rows, centres) ** 2
    broad_distance = 0.81 * ((rows - rows.mean(dim=0)) ** 2).sum(dim=1, keepdim=True)
    logs = ((squared.min(dim=0).values + 1e-3) / dim).log().requires_grad_()
    broad = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logs, broad], lr=0.5)

    def density(distances, log_variances):
        return -0.5 * distances / log_variances.exp() - dim / 2 * (log_variances + math.log(2 * math.pi))

    for start in [first for _ in range(n_epochs) for first in range(0, len(rows), batch)]:
        near, far = (distances[start : start + batch] for distances in (squared, broad_distance))
        parts = torch.cat([density(near, logs) - math.log(len(centres)), density(far, broad)], dim=1)
        loss = -parts.logsumexp(dim=1).mean() / dim
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    final = density(torch.cdist(held_out, centres) ** 2, logs) - math.log(len(centres))
    return float(-final.logsumexp(dim=1).mean().detach() / dim)


@pytest.mark.parametrize("batch", [30, 10_000])
@pytest.mark.parametrize("chunk", [40 * 7, 4_000_000])
def test_the_fit_is_that_of_automatic_differentiation(monkeypatch, tmp_path, chunk, batch):
    monkeypatch.setattr(mixture, "MAX_EPOCHS", 6)
    monkeypatch.setattr(mixture, "BATCH", batch)
    monkeypatch.setattr(mixture, "CHUNK_NUMBERS", chunk)
    centres, rows, held_out = points(0, 40), points(1, 100), points(2, 30)
    ours = Mixture(torch.from_numpy(centres), tmp_path, "cpu")
    ours.fit(plain(rows), torch.arange(100))
    expected = fitted_by_autograd(centres, rows, held_out, 6, batch)
    assert ours.negative_log_likelihood(plain(held_out)) == pytest.approx(expected, rel=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_one_centre_on_gaussian_data_reaches_the_entropy(tmp_path):
    """At its optimum one Gaussian has the closed form: half of log(2 pi e) per dimension for unit variance."""
    rows = points(3, 4000, dim=8)
    one = Mixture(torch.zeros(1, 8), tmp_path, "cpu")
    one._log_variances = torch.zeros(1)
    expected = 0.5 * math.log(2 * math.pi) + 0.5 * float(np.square(rows).mean())
    assert one.negative_log_likelihood(plain(rows)) == pytest.approx(expected, rel=1e-5)


def test_order_is_test_like_then_shifted_then_far(tmp_path):
    train, test = points(4, 300), points(5, 200)
    same, shifted, far = (
        feature_likelihood_divergence(train, test, points(6, 200, shift), tmp_path) for shift in (0.0, 1.0, 4.0)
    )
    assert same.test < shifted.test < far.test
    assert same.train < shifted.train < far.train
    assert abs(same.test) < 15


def test_memorised_training_images_are_seen_on_test_images(tmp_path):
    train, test = points(7, 200), points(8, 200)
    memorised = feature_likelihood_divergence(train, test, train.copy(), tmp_path)
    honest = feature_likelihood_divergence(train, test, points(9, 200), tmp_path)
    assert memorised.test > honest.test + 100
    assert memorised.train < memorised.test


def test_a_channel_without_variance_is_left_out(tmp_path):
    train, test, synthetic = points(10, 100), points(11, 60), points(12, 60)
    expected = feature_likelihood_divergence(train, test, synthetic, tmp_path)
    padded = [np.concatenate([one, np.ones((len(one), 1), np.float32)], axis=1) for one in (train, test, synthetic)]
    assert feature_likelihood_divergence(*padded, tmp_path) == expected


def test_metric_returns_both_variants(make_inputs):
    scores = FeatureLikelihoodDivergence().compute(make_inputs())
    assert [score.metric for score in scores] == ["fld", "fld-train"]
    assert all(math.isfinite(score.value) and not score.higher_is_better for score in scores)
    assert "80 real test images" in scores[0].evaluator


def test_undefined_scores_carry_reasons(make_inputs, track):
    none = FeatureLikelihoodDivergence().compute(make_inputs(track=track.model_copy(update={"features": None})))
    assert {score.reason for score in none} == {"The track names no feature extractor."}
    assert module.N_CENTRES == 10_000


def test_test_features_that_do_not_vary_are_refused(tmp_path):
    same = np.ones((5, 6), np.float32)
    with pytest.raises(MetricError, match="do not vary"):
        feature_likelihood_divergence(points(0, 20), same, points(1, 20), tmp_path)
