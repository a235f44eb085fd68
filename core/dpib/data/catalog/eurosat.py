"""EuroSAT (RGB) at 32x32: satellite pictures of ten kinds of land use."""

from dpib.dataset_spec import DatasetSpec, HubSource, Layout, SplitRule

CARD = DatasetSpec(
    name="eurosat",
    title="EuroSAT (RGB, 32x32)",
    role="sensitive",
    source=HubSource(
        repo="timm/eurosat-rgb",
        revision=None,
        mirror="eurosat",
        splits={"pool": "train+test"},
        order="file-name",
        hub=Layout(splits={"pool": "train+validation+test"}, name_column="image_id"),
    ),
    shape=(3, 32, 32),
    steps=("lanczos",),
    classes=(
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
        "Residential",
        "River",
        "SeaLake",
    ),
    split=SplitRule(kind="ranked-hash", n_pool=27_000, sizes={"train": 21_000, "validation": 2_000, "test": 4_000}),
    fingerprints={
        "train": "7340950278844ecf165faf133fdbe6b6b55a0c1658873ac0a33bf40ae7d5dd2a",
        "validation": "8e1326aeb833efdaa6fe1e5aa50faa97b058974336fff38303398f3d30d25bb3",
        "test": "97d20aafc434abd5eacbf95ac4711e232e38cb3ff93b85d1797832baad74335e",
    },
    licence="MIT",
    citation=(
        "P. Helber, B. Bischke, A. Dengel, D. Borth: EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use "
        "and Land Cover Classification. IEEE JSTARS 12(7), 2019. Contains Copernicus Sentinel data."
    ),
    homepage="https://github.com/phelber/EuroSAT",
    preprocessing="64x64 JPEG, quality 100, 4:2:0, as published",
    notes=(
        "No split is published: all 27,000 images, numbered by file name, are one pool that dpib divides. Neighbouring "
        "patches of a scene may fall on several sides. The Hub's copy was never loaded here; if it is another "
        "compression, its fingerprints say so."
    ),
)
