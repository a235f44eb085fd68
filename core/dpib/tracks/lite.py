"""``lite-v1``: real datasets at full training size, evaluated in about a minute on two CPU cores.

Fidelity compares 5,000 with 5,000 images, enlarged fourfold from 28 pixels to half the side the feature network was
trained at; fewer reference images are used only where a dataset has fewer (PneumoniaMNIST: 4,708).
"""

from __future__ import annotations

from dpib.spec import ClassifierSpec, FeatureSpec, Track

TRACK = Track(
    name="lite-v1",
    title="Lite",
    summary="Full private training sets, 10,000 synthetic images, small networks; minutes on two CPU cores.",
    datasets=("mnist", "fashion-mnist", "cifar10-jpeg75", "eurosat", "pneumoniamnist"),
    public_datasets=("omniglot-28", "tiny-imagenet-32"),
    epsilons=(1.0, 10.0),
    n_images=10_000,
    metrics=("accuracy", "fd-effnet", "precision-recall"),
    classifiers=(
        ClassifierSpec(
            name="small-cnn",
            epochs=10,
            batch_size=128,
            optimizer="adam",
            learning_rate=2e-3,
            decay_every=4,
            decay_factor=0.2,
        ),
    ),
    features=FeatureSpec(extractor="effnet-lite0", input_size=112, n_reference=5_000, n_synthetic=5_000),
)
