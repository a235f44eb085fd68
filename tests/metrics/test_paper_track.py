"""The classifiers and recipes of the paper, and the track that names them."""

from __future__ import annotations

import copy

import pytest
import torch
from quadrants import quadrant_images
from torch import nn

from dpib import catalogue
from dpib.metrics.classifiers import build_classifier
from dpib.metrics.training import _moving_average, train_classifier
from dpib.progress import Reporter
from dpib.spec import ClassifierSpec
from dpib.tracks.paper import TRACK


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet-110", 1_730_714),  # He et al., Table 6: 1.7 million
        ("resnet-164", 2_605_658),
        ("wrn-40-4", 8_949_210),  # Zagoruyko and Komodakis, Table 4: 8.9 million
        ("wrn-28-10", 36_479_194),  # the same: 36.5 million
        ("resnext-29", 34_426_698),  # Xie et al., Table 7, 8x64d: 34.4 million
        ("resnext-28", 40_559_690),
    ],
)
def test_sizes_are_the_published_ones(name, parameters):
    with torch.device("meta"):
        network = build_classifier(name, 3, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_resnet_takes_every_size_of_the_track(shape):
    network = build_classifier("resnet-110", shape[0], 2).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, *shape)).shape == (1, 2)


def test_recipes_follow_the_dataset_and_its_size():
    assert (TRACK.n_images, TRACK.features.extractor, TRACK.features.n_reference) == (60_000, "inception", None)
    names = {name: [spec.name for spec in TRACK.classifiers_for(name)] for name in TRACK.datasets}
    assert names["mnist"] == names["camelyon17"] == names["celeba-male-32"] == ["resnet-110", "wrn-40-4", "resnext-29"]
    assert names["cifar10"] == names["cifar100"] == ["resnet-164", "wrn-28-10", "resnext-28"]
    assert names["celeba-male-64"] == names["celeba-male-128"] == ["resnet-110", "wrn-40-4"]
    micro = {name: TRACK.classifiers_for(f"celeba-male-{name}")[0].micro_batches for name in (32, 64, 128)}
    assert micro == {32: 1, 64: 16, 128: 64}
    assert all(spec.ema_decay == 0.9999 for name in TRACK.datasets for spec in TRACK.classifiers_for(name))
    cifar, other = TRACK.classifiers_for("cifar10")[0], TRACK.classifiers_for("mnist")[0]
    assert (cifar.batch_size, cifar.epochs, cifar.optimizer, cifar.learning_rate) == (126, 200, "sgd", 0.1)
    assert (other.batch_size, other.epochs, other.optimizer, other.learning_rate) == (256, 50, "adam", 0.01)


def test_every_metric_of_the_track_exists():
    assert [catalogue.metric(name).card.name for name in TRACK.metrics] == list(TRACK.metrics)


def test_the_moving_average_warms_up_and_keeps_the_latest_buffers():
    network = nn.BatchNorm1d(1)
    expected = copy.deepcopy(network.weight.data)
    average = _moving_average(network, 0.9999)
    for n in range(1, 6):
        network.weight.data += n
        network.running_mean += 1
        average.update_parameters(network)
        decay = (1 + n) / (10 + n)
        expected = decay * expected + (1 - decay) * network.weight.data
    assert torch.allclose(average.module.weight, expected)
    assert torch.equal(average.module.running_mean, network.running_mean)


def train(**changes):
    recipe = {"name": "small-cnn", "epochs": 2, "batch_size": 32, "optimizer": "adam", "learning_rate": 2e-3}
    return train_classifier(
        ClassifierSpec(**(recipe | changes)),  # type: ignore[arg-type]
        quadrant_images(96, 1),
        quadrant_images(50, 2),
        n_classes=4,
        seed=0,
        device="cpu",
        reporter=Reporter(),
        selector=None,
    )


def test_averaging_and_micro_batches_change_what_is_evaluated():
    curve, plain = train()
    assert plain.shape == (50, 4)
    assert torch.allclose(plain.sum(dim=1), torch.ones(50))
    assert int((plain.argmax(dim=1) == quadrant_images(50, 2).labels).sum()) == curve.test[-1]
    assert not torch.equal(plain, train(ema_decay=0.9999)[1])
    assert not torch.equal(plain, train(micro_batches=4)[1])


def test_dropout_comes_from_the_seed_and_leaves_global_randomness_alone(monkeypatch):
    def with_dropout(_, n_channels, n_classes):
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * n_channels, n_classes))

    monkeypatch.setattr("dpib.metrics.training.build_classifier", with_dropout)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = train()[1]
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(train()[1], first)
