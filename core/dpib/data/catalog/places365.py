"""Places365-Standard at 32x32: public photographs of scenes for pretraining."""

from importlib.resources import files

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

CARD = DatasetSpec(
    name="places365-32",
    title="Places365-Standard (32x32)",
    role="public",
    source=HubSource(repo=None, revision=None, mirror="places365", splits={"train": "train"}),
    shape=(3, 32, 32),
    steps=("to-rgb", "centre-crop", "lanczos"),
    classes=tuple(files(__package__).joinpath("places365_classes.txt").read_text(encoding="utf-8").splitlines()),
    split=SplitRule(kind="all-train", n_pool=1_803_460, sizes={"train": 1_803_460}),
    fingerprints={},
    licence="copyright of the image owners; terms of the download page not verified here",
    citation=(
        "B. Zhou, A. Lapedriza, A. Khosla, A. Oliva, A. Torralba: Places: A 10 Million Image Database for Scene "
        "Recognition. IEEE TPAMI 40(6), 2018."
    ),
    homepage="http://places2.csail.mit.edu",
    preprocessing="256x256 JPEG (the small images), by the authors",
    notes=(
        "No copy on the Hub is known to match. A mirror is made of the authors' archive of small images, in the order "
        "of their list places365_train_standard.txt, classes named as in categories_places365.txt without the letter."
    ),
)
