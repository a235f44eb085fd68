"""CIFAR-10: small colour photographs of ten kinds of things."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    role="sensitive",
    source=HubSource(
        repo="uoft-cs/cifar10",
        revision=None,
        mirror="cifar10_png",
        splits={"pool": "train", "test": "test"},
        image_column="img",
    ),
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    split=SplitRule(kind="ranked-hash", n_pool=50_000, sizes={"train": 45_000, "validation": 5_000, "test": 10_000}),
    fingerprints={},
    licence="none stated by the authors, who ask for citation",
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009.",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    notes="A mirror holds the Hub's files; its folder is not called cifar10, where the lossy copy cifar10-jpeg75 lies.",
)
