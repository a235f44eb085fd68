"""Digits: the small set that ships with scikit-learn; nothing to download."""

from dpib.dataset_spec import BundledSource, DatasetSpec, SplitRule

CARD = DatasetSpec(
    name="digits",
    title="Digits (8x8)",
    role="sensitive",
    source=BundledSource(),
    shape=(1, 8, 8),
    classes=tuple("0123456789"),
    split=SplitRule(kind="ranked-hash", n_pool=1_797, sizes={"train": 1_297, "validation": 200, "test": 300}),
    fingerprints={
        "train": "fbd5f4295d3c9207a940988eb383a3ceaa59f001adcade308136f6cd19181582",
        "validation": "ddff6a22a1204843d2e95e8b3642c98f1ec2b17e116e8283277902f003dbf89c",
        "test": "996840832affb6bc96d8f6e454620d54c1861e1a20a09c1f7987328cf8f3dce2",
    },
    licence="CC BY 4.0",
    citation=(
        "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, 1998."
    ),
    homepage="https://archive.ics.uci.edu/dataset/80",
    preprocessing="levels v in 0..16 become floor((255 v + 8) / 16): 255 v / 16 rounded, halves up",
    notes="1,797 images by 13 writers, who each have many: the guarantee is for one image, not for a writer.",
)
