"""Per-class accuracy, confusion and calibration: definitions, one training for all, empty classes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from quadrants import quadrant_images

from dpib.data.images import LabelledImages
from dpib.evaluation import evaluate
from dpib.metrics import training
from dpib.metrics.accuracy import Accuracy
from dpib.metrics.per_class import CalibrationError, ClassAccuracy, calibration_error, confusion_matrix


def test_confusion_counts_pairs():
    found = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]), 3)
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    sure = np.tile([0.9, 0.1], (10, 1)).astype(np.float32)
    assert calibration_error(np.array([0] * 9 + [1]), sure) == pytest.approx(0, abs=1e-6)
    assert calibration_error(np.zeros(10, np.int64), sure) == pytest.approx(0.1, abs=1e-6)
    assert calibration_error(np.ones(10, np.int64), sure) == pytest.approx(0.9, abs=1e-6)


def test_calibration_error_averages_over_bins():
    """Two bins: 0.6 with all wrong, 1.0 with all right; a certain image falls into the last bin."""
    probabilities = np.array([[0.6, 0.4]] * 3 + [[1.0, 0.0]], np.float32)
    assert calibration_error(np.array([1, 1, 1, 0]), probabilities) == pytest.approx(0.75 * 0.6)


def test_one_training_serves_all(make_inputs, monkeypatch, tmp_path):
    inputs = dataclasses.replace(make_inputs(), tables=tmp_path / "tables")
    last = next(one for one in Accuracy().compute(inputs) if one.protocol == "testfix" and one.classifier is None)

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_classifier", never)
    scores = {score.metric: score for score in ClassAccuracy().compute(inputs)}
    counts = np.bincount(inputs.splits.test.labels, minlength=4)
    mean = sum(scores[f"accuracy-class-{k}"].value * counts[k] for k in range(4)) / counts.sum()
    assert mean == pytest.approx(last.value)
    assert scores["accuracy-worst-class"].value == min(scores[f"accuracy-class-{k}"].value for k in range(4))
    [calibration] = CalibrationError().compute(inputs)
    assert 0 <= calibration.value <= 100
    table = (tmp_path / "tables" / "confusion-small-cnn.csv").read_text().splitlines()
    assert table[0] == "true \\ predicted,a,b,c,d"
    assert [sum(map(int, row.split(",")[1:])) for row in table[1:]] == counts.tolist()


def test_another_version_of_the_code_trains_anew(make_inputs, monkeypatch):
    inputs = make_inputs()
    ClassAccuracy().compute(inputs)
    trained = []
    train = training.train_classifier
    monkeypatch.setattr(
        training, "train_classifier", lambda *args, **kwargs: trained.append(1) or train(*args, **kwargs)
    )
    ClassAccuracy().compute(inputs)
    assert not trained
    monkeypatch.setattr(training, "core_digest", lambda: "1" * 64)
    ClassAccuracy().compute(inputs)
    assert trained


def test_they_train_where_nothing_is_stored_and_select_nothing(make_inputs):
    class Never:
        def open(self, *_):
            raise AssertionError("selected")

    alone = ClassAccuracy().compute(make_inputs(selector=Never()))
    assert all(score.value is not None for score in alone)


def test_a_class_without_test_images_has_no_accuracy(make_inputs):
    inputs = make_inputs()
    some = inputs.splits.test.labels != 2
    test = LabelledImages(inputs.splits.test.images[some], inputs.splits.test.labels[some])
    inputs = dataclasses.replace(inputs, splits=dataclasses.replace(inputs.splits, test=test))
    scores = {score.metric: score for score in ClassAccuracy().compute(inputs)}
    assert scores["accuracy-class-2"].reason == "The class has no test images."
    assert scores["accuracy-worst-class"].value is not None


def test_too_few_images_are_undefined_with_a_reason(make_inputs):
    [score] = ClassAccuracy().compute(make_inputs(quadrant_images(11, 1)))
    assert score.reason == "At least 12 synthetic images are needed, got 11."


def test_a_training_that_diverged_has_no_calibration_and_spoils_no_other_score(make_inputs, track):
    """With two classifiers, of which one diverges, the mean is not that of the other."""
    sound = track.classifiers[0]
    wild = sound.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30, "epochs": 1})
    both = track.model_copy(update={"classifiers": (sound, wild), "metrics": ("calibration-error", "class-accuracy")})
    scores = {score.metric: score for score in evaluate(make_inputs(track=both))}
    assert scores["calibration-error"].reason == "The training of a classifier diverged: its confidence is no number."
    assert scores["accuracy-worst-class"].value is not None
