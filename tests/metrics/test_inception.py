"""Inception is pytorch-fid's network; the Inception Score has closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_fid import inception as published
from quadrants import quadrant_images

from dpib.errors import MetricError
from dpib.evaluation import evaluate, is_complete
from dpib.metrics import inception
from dpib.metrics.extractors import resize
from dpib.metrics.inception_score import inception_score
from dpib.metrics.weights import PublishedWeights


@pytest.fixture(scope="module")
def state():
    network = inception.fid_network()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * math.sqrt(2 / fan_in)
    return network.state_dict()


def test_features_are_those_of_pytorch_fid(monkeypatch, state):
    class Placed:
        def load(self):
            return state

    monkeypatch.setattr(inception, "WEIGHTS", Placed())
    monkeypatch.setattr(published, "load_state_dict_from_url", lambda *_, **__: state)
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    extractor = inception.Inception(299, "cpu")
    with torch.no_grad():
        theirs = published.InceptionV3([3]).eval()(resize(images, 299).float() / 255)[0][:, :, 0, 0]
    ours = extractor(images)
    assert ours.shape == (2, extractor.dim)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4
    weight, bias = inception.classification_layer()
    assert (weight.shape, bias.shape) == ((1008, 2048), (1008,))


def test_the_known_weights_are_the_published_ones():
    name = published.FID_WEIGHTS_URL.rsplit("-", 1)[1]
    assert inception.WEIGHTS.sha256.startswith(name.removesuffix(".pth"))
    assert inception.WEIGHTS.url == published.FID_WEIGHTS_URL


def test_absent_weights_leave_scores_undefined_and_the_record_incomplete(make_inputs, track, monkeypatch):
    monkeypatch.setattr(inception, "WEIGHTS", PublishedWeights("file:///nowhere/net.pth", "0" * 64))
    features = track.features.model_copy(update={"extractor": "inception", "input_size": 299})
    metrics = ("fid", "inception-score", "precision-recall")
    scores = evaluate(make_inputs(track=track.model_copy(update={"features": features, "metrics": metrics})))
    assert [score.metric for score in scores] == list(metrics)
    assert all(score.value is None and "Do: curl" in score.reason for score in scores)
    assert not is_complete(scores)


def test_sure_and_even_predictions_score_the_number_of_classes():
    features = np.eye(5, dtype=np.float32)[np.arange(3000) % 5]
    assert inception_score(features, 100 * torch.eye(5), torch.zeros(5)) == pytest.approx(5)


def test_one_answer_for_all_scores_one():
    features = np.ones((10, 3), dtype=np.float32)
    assert inception_score(features, torch.randn(7, 3), torch.randn(7)) == pytest.approx(1)


def test_agrees_with_the_definition():
    rng = np.random.default_rng(0)
    features, weight, bias = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(6, 4)), rng.normal(size=6)
    logits = features @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert inception_score(features, torch.tensor(weight).float(), torch.tensor(bias).float()) == pytest.approx(
        expected, rel=1e-5
    )


def test_other_features_leave_them_undefined(make_inputs, track):
    track = track.model_copy(update={"metrics": ("fid", "inception-score")})
    reasons = {score.reason for score in evaluate(make_inputs(quadrant_images(64, 1), track=track))}
    assert reasons == {"Needs features of inception; the track's are random-conv."}


def test_a_feature_that_is_not_a_number_is_refused(make_inputs, monkeypatch):
    from dpib.metrics.extractors import RandomConv
    from dpib.metrics.features import compared_features

    monkeypatch.setattr(RandomConv, "__call__", lambda self, images: torch.full((len(images), self.dim), math.nan))
    inputs = make_inputs()
    with pytest.raises(MetricError, match="not a finite number"):
        compared_features(inputs, inputs.track.features)
    assert not list(inputs.cache.iterdir())
