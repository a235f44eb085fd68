"""On real images metrics put train before test before noise; precision does not on few images, and is not asserted."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from dpib import catalogue
from dpib.data.images import LabelledImages, Splits
from dpib.data.load import load_splits
from dpib.data.sources import ENVIRONMENT
from dpib.evaluation import evaluate
from dpib.metrics.base import EvalInputs
from dpib.metrics.features import pinned_subset
from dpib.progress import Reporter
from dpib.spec import FeatureSpec
from dpib.tracks.lite import TRACK

N = 200


@pytest.mark.mirror
@pytest.mark.parametrize("name", ["mnist", "eurosat"])
def test_train_test_and_noise_are_ordered(name: str, tmp_path: Path) -> None:
    """Small sets: what is asserted holds by a wide margin, and training images stand for perfect memory."""
    if not os.environ.get(ENVIRONMENT):
        pytest.skip(f"{ENVIRONMENT} is not set")
    card = catalogue.dataset(name)
    whole = load_splits(card)
    sides = (whole.train, whole.validation, whole.test)
    train, validation, test = (side[pinned_subset(len(side), 2 * N)] for side in sides)
    assert all(len(side.labels.unique()) == 10 for side in (train[:N], test[:N])), "a source may be sorted by class"
    splits = Splits(train[:N], validation[:N], test[N:])
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, splits.train.images.shape, dtype=torch.uint8, generator=rng)
    sets = {"train": splits.train, "test": test[:N], "noise": LabelledImages(pixels, splits.train.labels)}
    track = TRACK.model_copy(
        update={
            "features": FeatureSpec(extractor="effnet-lite0", input_size=112, n_reference=N, n_synthetic=N),
            "metrics": ("accuracy", "fd-effnet", "precision-recall", "density-coverage", "fld", "diversity"),
        }
    )
    inputs = EvalInputs(sets["train"], splits, card.task(), track, "cpu", tmp_path, Reporter(), None)
    found: dict[str, dict[str, float]] = {}
    for kind, images in sets.items():
        scores = evaluate(dataclasses.replace(inputs, synthetic=images))
        found[kind] = {
            one.metric: one.value
            for one in scores
            if one.value is not None and one.classifier is None and one.protocol in (None, "testfix")
        }
    on_train, on_test, on_noise = found["train"], found["test"], found["noise"]
    for metric in ("fd-effnet", "fld-train", "neighbour-distance-train"):
        assert on_train[metric] < on_test[metric] < on_noise[metric], metric
    for metric in ("recall", "density", "coverage", "copies-train"):
        assert on_train[metric] >= on_test[metric] >= on_noise[metric], metric
    assert (on_train["precision"], on_train["recall"], on_train["coverage"]) == (1, 1, 1)
    assert on_test["precision"] < 1, "noise may have more on few images"
    assert on_train["fld"] > on_noise["fld"] > on_test["fld"], (
        "held-out likelihood sees that training images are memorised"
    )
    assert (on_train["neighbours-in-train"], on_train["copies-train"], on_noise["copies-train"]) == (100, N, 0)
    assert min(on_train["accuracy"], on_test["accuracy"]) > on_noise["accuracy"] + 10
