"""Small real objects: separable 8x8 images, a tiny track, evaluation inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from quadrants import quadrant_images

from dpib.data.images import LabelledImages, Splits
from dpib.metrics.base import EpochSelector, EvalInputs
from dpib.progress import Reporter
from dpib.spec import ClassifierSpec, FeatureSpec, TaskInfo, Track


@pytest.fixture
def track() -> Track:
    return Track(
        name="tiny-v1",
        title="Tiny",
        summary="For tests.",
        datasets=("quadrants",),
        public_datasets=(),
        epsilons=(1.0,),
        n_images=96,
        metrics=("accuracy", "fd-random", "precision-recall"),
        classifiers=(ClassifierSpec(name="small-cnn", epochs=3, batch_size=32, optimizer="adam", learning_rate=2e-3),),
        features=FeatureSpec(extractor="random-conv", input_size=8, n_reference=80, n_synthetic=64),
        evaluation_seed=7,
    )


@pytest.fixture
def make_inputs(track: Track, tmp_path: Path) -> Callable[..., EvalInputs]:
    def make(
        synthetic: LabelledImages | None = None,
        *,
        selector: EpochSelector | None = None,
        track: Track = track,
        train: LabelledImages | None = None,
    ) -> EvalInputs:
        return EvalInputs(
            synthetic=quadrant_images(96, 1) if synthetic is None else synthetic,
            splits=Splits(quadrant_images(120, 2) if train is None else train, None, quadrant_images(100, 3)),  # type: ignore[arg-type]
            task=TaskInfo(dataset="quadrants", shape=(1, 8, 8), classes=("a", "b", "c", "d"), nominal_size=120),
            track=track,
            device="cpu",
            cache=tmp_path / "cache",
            reporter=Reporter(),
            selector=selector,
        )

    return make
