"""PneumoniaMNIST: small chest X-rays of children, with the published splits."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="pneumoniamnist",
    title="PneumoniaMNIST (28x28)",
    role="sensitive",
    source=HubSource(
        repo=None,
        revision=None,
        mirror="pneumoniamnist",
        splits={"train": "train", "validation": "validation", "test": "test"},
    ),
    shape=(1, 28, 28),
    classes=("normal", "pneumonia"),
    split=SplitRule(kind="published", n_pool=5_856, sizes={"train": 4_708, "validation": 524, "test": 624}),
    fingerprints={
        "train": "41f4c582abe3aabc939f41a54a9567ae98936b2ffa0f3d0e7e8830dbf2ef153a",
        "validation": "2de1ccb3875b5a5f55e19bbd168eefd8f3cf668a451da6789a8f529c53024a92",
        "test": "35c8c3c16faad7c278d2f0230afc7f1490eb5bfa4a3cad2d42361331038ba1b6",
    },
    licence="CC BY 4.0",
    citation=(
        "J. Yang et al.: MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification. Scientific Data 10, 2023. Source images: D. S. Kermany et al., Cell 172(5), 2018."
    ),
    homepage="https://medmnist.com",
    notes=(
        "A child may have several X-rays: the guarantee is for one image, not for a child. Train was put together "
        "from two partial copies (official counts) and is ordered by a hash, not as published."
    ),
)
