"""Copies and neighbours: what repeats is counted, held-out images are no nearer than training images by chance."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from quadrants import quadrant_images

from dpib.data.images import LabelledImages, Splits
from dpib.errors import DataError
from dpib.metrics.copies import copy_test
from dpib.metrics.diversity import HIGHER_IS_BETTER, Diversity


@pytest.fixture
def inputs_of(make_inputs):
    def make(synthetic):
        splits = Splits(quadrant_images(200, 2), quadrant_images(200, 4), quadrant_images(100, 3))
        return dataclasses.replace(make_inputs(synthetic), splits=splits)

    return make


def values(inputs):
    return {score.metric: score.value for score in Diversity().compute(inputs)}


def test_fresh_images_repeat_nothing(inputs_of):
    found = values(inputs_of(quadrant_images(300, 9)))
    assert list(found) == list(HIGHER_IS_BETTER)
    assert (found["distinct-images"], found["copies-train"], found["copies-held-out"]) == (100, 0, 0)
    assert 35 < found["neighbours-in-train"] < 65
    assert found["neighbour-distance-train"] == pytest.approx(found["neighbour-distance-held-out"], rel=0.05)


def test_copied_training_images_are_counted_and_near(inputs_of):
    train = quadrant_images(200, 2)
    found = values(inputs_of(train))
    assert found["copies-train"] == 200
    assert found["copies-held-out"] == 0
    assert found["neighbours-in-train"] == 100
    assert found["neighbour-distance-train"] == pytest.approx(0, abs=0.1)


def test_duplicates_are_counted(inputs_of):
    one = quadrant_images(10, 9)
    many = LabelledImages(one.images.repeat(10, 1, 1, 1), one.labels.repeat(10))
    assert values(inputs_of(many))["distinct-images"] == 10


def test_an_empty_side_leaves_the_scores_undefined(inputs_of):
    inputs = inputs_of(quadrant_images(20, 9))
    empty = dataclasses.replace(inputs.splits, validation=quadrant_images(0, 1))
    scores = Diversity().compute(dataclasses.replace(inputs, splits=empty))
    assert {score.reason for score in scores} == {"There are no validation images."}


def test_images_of_another_size_are_refused(inputs_of):
    wrong = LabelledImages(torch.zeros(20, 1, 7, 9, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(DataError, match="expected images of shape"):
        Diversity().compute(inputs_of(wrong))


def test_what_counts_as_near_does_not_follow_the_stored_order_of_the_test_side():
    """A test side that is stored class by class, the diverse class first, is no licence to copy the other."""
    generator = torch.Generator().manual_seed(0)

    def images(n_wild, n_plain):
        wild = torch.randint(0, 256, (n_wild, 1, 16, 16), generator=generator, dtype=torch.uint8)
        plain = torch.randint(100, 130, (n_plain, 1, 16, 16), generator=generator, dtype=torch.uint8)
        labels = torch.cat([torch.zeros(n_wild), torch.ones(n_plain)]).long()
        return LabelledImages(torch.cat([wild, plain]), labels)

    splits = Splits(images(100, 900), images(10, 90), images(2000, 2000))
    assert copy_test(images(0, 100), splits, test_is_exchangeable=True).exact_or_near["train"] == 0
