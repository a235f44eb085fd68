"""Fashion-MNIST: pictures of clothes from a shop's catalogue."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="fashion-mnist",
    title="Fashion-MNIST",
    role="sensitive",
    source=HubSource(
        repo="zalando-datasets/fashion_mnist",
        revision=None,
        mirror="fashion_mnist",
        splits={"pool": "train", "test": "test"},
    ),
    shape=(1, 28, 28),
    classes=(
        "T - shirt / top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    split=SplitRule(kind="ranked-hash", n_pool=60_000, sizes={"train": 55_000, "validation": 5_000, "test": 10_000}),
    fingerprints={
        "train": "4607208d2f875b4f7964304264a4e49f1dfcc320d3901cc893b74ba60f3309cd",
        "validation": "dab12ee71a41a2b50328bf0fda9b1ab33c65b668ad4a81c5163b784a55157967",
        "test": "3581bf52f521803120533f28e81ae934decd1771980630083c739dc6da7d3bc6",
    },
    licence="MIT",
    citation=(
        "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
        "Algorithms. arXiv:1708.07747, 2017."
    ),
    homepage="https://github.com/zalandoresearch/fashion-mnist",
)
