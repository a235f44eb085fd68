"""MNIST: handwritten digits."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="mnist",
    title="MNIST",
    role="sensitive",
    source=HubSource(repo="ylecun/mnist", revision=None, mirror="mnist", splits={"pool": "train", "test": "test"}),
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    split=SplitRule(kind="ranked-hash", n_pool=60_000, sizes={"train": 55_000, "validation": 5_000, "test": 10_000}),
    fingerprints={
        "train": "bab0bad19d45b056aeb98b0ef35e609e6439edb7530e81e287eb2e7a24ad6a41",
        "validation": "2ecf6d8f2c46bef217dda09c49ffdfca6ea03a35356fc60cd61482e74ed5edb4",
        "test": "4718853ea946af656684509414983beff2e65cf414265c27966161014c003b8b",
    },
    licence="CC BY-SA 3.0",
    citation=(
        "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition. "
        "Proceedings of the IEEE 86(11), 1998."
    ),
    homepage="http://yann.lecun.com/exdb/mnist/",
    notes="A writer has many digits: the guarantee is for one image, not for a writer.",
)
