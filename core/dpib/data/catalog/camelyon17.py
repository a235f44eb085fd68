"""Camelyon17 (WILDS patches) at 32x32: lymph node tissue, with and without tumour."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="camelyon17",
    title="Camelyon17-WILDS (32x32)",
    role="sensitive",
    source=HubSource(
        repo=None, revision=None, mirror="camelyon17_wilds", splits={"pool": "train", "test": "validation"}
    ),
    shape=(3, 32, 32),
    steps=("to-rgb", "lanczos"),
    classes=("normal", "tumor"),
    split=SplitRule(kind="ranked-hash", n_pool=302_436, sizes={"train": 269_538, "validation": 32_898, "test": 34_904}),
    fingerprints={},
    licence="CC0 1.0",
    citation=(
        "P. Bandi et al.: From Detection of Individual Metastases to Classification of Lymph Node Status at the "
        "Patient Level: The CAMELYON17 Challenge. IEEE TMI 38(2), 2019. P. W. Koh et al.: WILDS. ICML 2021."
    ),
    homepage="https://wilds.stanford.edu/datasets/#camelyon17",
    preprocessing="96x96 patches of whole slides, by WILDS",
    notes=(
        "A patient has many thousand patches: the guarantee is for one patch, and hardly protects a patient. The pool "
        "is the train split of WILDS (three hospitals), test its out-of-distribution validation split (a fourth "
        "hospital), which the counts of the paper point to. A mirror is made from the package wilds: the patches in "
        "the order of its metadata, split val as validation-*.parquet, labels named normal and tumor."
    ),
)
