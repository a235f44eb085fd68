"""CIFAR-100: small colour photographs of a hundred kinds of things, by fine label."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""

CARD = DatasetSpec(
    name="cifar100",
    title="CIFAR-100 (fine labels)",
    role="sensitive",
    source=HubSource(
        repo="uoft-cs/cifar100",
        revision=None,
        mirror="cifar100",
        splits={"pool": "train", "test": "test"},
        image_column="img",
        label_column="fine_label",
        aliases={"cra": "crab"},
    ),
    shape=(3, 32, 32),
    classes=tuple(_CLASSES.split()),
    split=SplitRule(kind="ranked-hash", n_pool=50_000, sizes={"train": 45_000, "validation": 5_000, "test": 10_000}),
    fingerprints={},
    licence="none stated by the authors, who ask for citation",
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009.",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    notes="Class names are in alphabetical order, which is the order of the labels. The Hub's copy misspells crab.",
)
