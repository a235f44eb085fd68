"""``demo-v1``: everything the platform does, in seconds, without a download. Its scores compare nothing."""

from __future__ import annotations

from dpib.spec import ClassifierSpec, FeatureSpec, Track

TRACK = Track(
    name="demo-v1",
    title="Demo",
    summary="Tiny bundled digits, small images and networks: a full run in seconds on any computer.",
    datasets=("digits",),
    public_datasets=(),
    epsilons=(1.0, 10.0),
    n_images=1_000,
    metrics=("accuracy", "fd-random", "precision-recall"),
    classifiers=(
        ClassifierSpec(
            name="small-cnn",
            epochs=10,
            batch_size=64,
            optimizer="adam",
            learning_rate=2e-3,
            decay_every=4,
            decay_factor=0.2,
        ),
    ),
    features=FeatureSpec(extractor="random-conv", input_size=16, n_reference=1_000, n_synthetic=1_000),
)
