"""ImageNet-1k at three sizes: public colour photographs for pretraining."""

from importlib.resources import files

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

_CLASSES = tuple(files(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


def _card(side: int) -> DatasetSpec:
    return DatasetSpec(
        name=f"imagenet-{side}",
        title=f"ImageNet-1k ({side}x{side})",
        role="public",
        source=HubSource(repo="ILSVRC/imagenet-1k", revision=None, mirror="imagenet_1k", splits={"train": "train"}),
        shape=(3, side, side),
        steps=("to-rgb", "centre-crop", "lanczos"),
        classes=_CLASSES,
        split=SplitRule(kind="all-train", n_pool=1_281_167, sizes={"train": 1_281_167}),
        fingerprints={},
        licence="ImageNet terms: non-commercial research and education only",
        gated=True,
        citation=(
            "O. Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge. IJCV 115(3), 2015. "
            "J. Deng et al.: ImageNet: A Large-Scale Hierarchical Image Database. CVPR 2009."
        ),
        homepage="https://www.image-net.org",
        notes=(
            "The train split of ILSVRC 2012. It shows people who were not asked, some of them recognisable; the paper "
            "counts it as public. Class names as on the Hub, in the order of their WordNet ids."
        ),
    )


CARDS = (_card(32), _card(64), _card(128))
