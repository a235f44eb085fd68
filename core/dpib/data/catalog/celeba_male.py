"""CelebA by the attribute Male: faces of celebrities, at three sizes."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule


def _card(side: int) -> DatasetSpec:
    return DatasetSpec(
        name=f"celeba-male-{side}",
        title=f"CelebA, attribute Male ({side}x{side})",
        role="sensitive",
        source=HubSource(
            repo="flwrlabs/celeba",
            revision=None,
            mirror="celeba",
            splits={"pool": "train", "test": "test"},
            label_column="Male",
            labels="flag",
        ),
        shape=(3, side, side),
        steps=("centre-crop", "lanczos"),
        classes=("female", "male"),
        split=SplitRule(
            kind="ranked-hash", n_pool=162_770, sizes={"train": 145_064, "validation": 17_706, "test": 19_962}
        ),
        fingerprints={},
        licence="CelebA agreement: non-commercial research only, images must not be redistributed",
        citation="Z. Liu, P. Luo, X. Wang, X. Tang: Deep Learning Face Attributes in the Wild. ICCV 2015.",
        homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        preprocessing="aligned and cropped to 178x218 by the authors",
        notes=(
            "10,177 celebrities with many images each: the guarantee is for one image, not for a person. The pool is "
            "the published train split, test the published test split; the published validation split is not used, as "
            "in the paper. The labels are what annotators saw, not what the people shown would say."
        ),
    )


CARDS = (_card(32), _card(64), _card(128))
