"""Utility: four protocols from one training, deterministic, without touching global state or private data."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from quadrants import quadrant_images

from dpib.data.images import LabelledImages
from dpib.errors import DataError, RecordError, UnknownName
from dpib.metrics.accuracy import Accuracy, mean_scores, protocol_scores
from dpib.metrics.base import NO_SELECTION
from dpib.metrics.classifiers import build_classifier
from dpib.metrics.selection import StoredSelector
from dpib.metrics.training import TrainingCurve, train_classifier
from dpib.progress import Reporter


def by_protocol(scores, classifier="small-cnn"):
    return {score.protocol: score for score in scores if score.classifier == classifier}


def test_learns_a_separable_task_and_reports_all_protocols(make_inputs):
    scores = Accuracy().compute(make_inputs(selector=StoredSelector({"small-cnn": 2})))
    own, means = by_protocol(scores), by_protocol(scores, None)
    assert set(own) == set(means) == {"noisy-senv", "synv", "senv", "testfix"}
    assert own["testfix"].value > 60
    assert own["testfix"].epoch == 2
    assert all(score.n_synthetic == 96 and score.seed == 7 for score in scores)
    assert all(means[name].value == pytest.approx(own[name].value) and means[name].epoch is None for name in own)
    assert [name for name, score in own.items() if not score.private_selection] == ["senv"]


def test_private_choice_is_reported_where_it_differs_from_every_exact_one(make_inputs):
    curve = TrainingCurve(test=[50, 90, 60, 70], held_out=[5, 6, 8, 7], private_epoch=0)
    own = {score.protocol: score for score in protocol_scores(make_inputs(), "small-cnn", curve)}
    assert {name: (score.epoch, score.value) for name, score in own.items()} == {
        "noisy-senv": (0, 50.0),
        "synv": (2, 60.0),
        "senv": (1, 90.0),
        "testfix": (3, 70.0),
    }
    assert own["senv"].stderr == pytest.approx(100 * math.sqrt(0.9 * 0.1 / 100))


def test_ties_go_to_the_earliest_epoch(make_inputs):
    curve = TrainingCurve(test=[10, 30, 30], held_out=[4, 4, 4], private_epoch=None)
    own = {score.protocol: score for score in protocol_scores(make_inputs(), "small-cnn", curve)}
    assert (own["senv"].epoch, own["synv"].epoch) == (1, 0)


def test_headline_is_the_mean_over_classifiers(make_inputs):
    inputs = make_inputs()
    scores = [
        *protocol_scores(inputs, "one", TrainingCurve([80], [1], 0)),
        *protocol_scores(inputs, "two", TrainingCurve([60], [1], None)),
    ]
    means = {score.protocol: score for score in mean_scores(inputs, scores)}
    assert means["testfix"].value == pytest.approx(70)
    assert (means["noisy-senv"].value, means["noisy-senv"].reason) == (None, NO_SELECTION)


def test_without_a_selector_noisy_senv_is_undefined_with_a_reason(make_inputs):
    scores = Accuracy().compute(make_inputs())
    assert [score.protocol for score in scores if score.value is None] == ["noisy-senv", "noisy-senv"]
    assert all(score.reason == NO_SELECTION for score in scores if score.value is None)


def test_same_inputs_give_the_same_scores_and_leave_global_randomness_alone(make_inputs):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first = Accuracy().compute(make_inputs())
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(9)
    assert Accuracy().compute(make_inputs()) == first


def test_evaluation_seed_matters(make_inputs, track):
    other = track.model_copy(update={"evaluation_seed": 8})
    curves = [
        train_classifier(
            track.classifiers[0],
            quadrant_images(96, 1, contrast=20),
            quadrant_images(100, 3, contrast=20),
            n_classes=4,
            seed=each.evaluation_seed,
            device="cpu",
            reporter=Reporter(),
            selector=None,
        )[0]
        for each in (track, other)
    ]
    assert curves[0] != curves[1]


def test_stored_selector_reproduces_the_value_of_a_private_run(make_inputs):
    class Recorded:
        """Chooses epoch 1 after seeing each epoch once."""

        def __init__(self):
            self.seen = []

        def open(self, classifier, n_epochs):
            assert (classifier, n_epochs) == ("small-cnn", 3)
            return self

        def observe(self, predict):
            self.seen.append(predict(quadrant_images(10, 4).images))

        def chosen(self):
            assert [answer.dtype for answer in self.seen] == [torch.int64] * 3
            return 1

    private = Accuracy().compute(make_inputs(selector=Recorded()))
    stored = Accuracy().compute(make_inputs(selector=StoredSelector({"small-cnn": 1})))
    assert private == stored
    assert by_protocol(private)["noisy-senv"].epoch == 1


@pytest.mark.parametrize(
    ("held_out", "claimed", "believed"),
    [
        ([800, 830, 829], 2, 2),  # as good up to rounding
        ([800, 830, 829], 1, 1),
        ([800, 830, 829], 0, 1),  # three and a half points below the best: chosen for its test accuracy
        ([800, 830, 829], None, 1),
        ([800, 830, 829], 7, 1),  # no such epoch
    ],
)
def test_the_epoch_that_a_record_calls_best_is_believed_if_it_is_as_good(make_inputs, held_out, claimed, believed):
    inputs = make_inputs(quadrant_images(833 * 12, 1))
    inputs = dataclasses.replace(inputs, claimed={} if claimed is None else {"small-cnn": claimed})
    scores = protocol_scores(inputs, "small-cnn", TrainingCurve([10, 20, 30], held_out, None))
    (score,) = (one for one in scores if one.protocol == "synv")
    assert score.epoch == believed


@pytest.mark.parametrize(("epochs", "words"), [({}, "stores no chosen epoch"), ({"small-cnn": 3}, "expected 0..2")])
def test_stored_epoch_must_exist(make_inputs, epochs, words):
    with pytest.raises(RecordError, match=words):
        Accuracy().compute(make_inputs(selector=StoredSelector(epochs)))


def test_too_few_images_are_undefined_with_a_reason(make_inputs):
    scores = Accuracy().compute(make_inputs(quadrant_images(11, 1)))
    assert len(scores) == 8
    assert all(score.value is None and score.reason.startswith("At least 12 synthetic") for score in scores)


def test_smallest_set_and_sgd_train(make_inputs, track):
    spec = track.classifiers[0].model_copy(update={"optimizer": "sgd", "epochs": 1, "momentum": 0.9})
    inputs = make_inputs(quadrant_images(12, 1), track=track.model_copy(update={"classifiers": (spec,)}))
    assert by_protocol(Accuracy().compute(inputs))["testfix"].value is not None


def test_images_that_do_not_fit_the_task_are_refused(make_inputs):
    wrong = LabelledImages(torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(DataError, match="expected images of shape"):
        Accuracy().compute(make_inputs(wrong))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_small_cnn_takes_every_size_of_the_cpu_tracks(shape):
    network = build_classifier("small-cnn", shape[0], 10)
    assert network(torch.zeros(2, *shape)).shape == (2, 10)
    assert 95_000 < sum(parameter.numel() for parameter in network.parameters()) < 101_000


def test_unknown_classifier_suggests_the_nearest():
    with pytest.raises(UnknownName, match="small-cnn"):
        build_classifier("smal-cnn", 1, 10)
