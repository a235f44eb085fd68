"""Datasets that have no copy here, on small sets of the same layout as their source."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from dpib.data.catalog import CARDS
from dpib.data.load import load_sides
from dpib.data.splits import split_by_rank
from dpib.data.steps import apply_steps
from dpib.dataset_spec import DatasetSpec, HubSource
from dpib.errors import DataError

CATALOGUE = {card.name: card for card in CARDS}
RNG = np.random.default_rng(0)


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def cell(image: Image.Image, name: str | None = None, kind: str = "PNG") -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": name}


def write(path: Path, features: dict[str, Any], columns: dict[str, Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=Features(features)).to_parquet(str(path))


def shrunk(card: DatasetSpec, sizes: dict[str, int]) -> DatasetSpec:
    """Return a card of the same source with few records."""
    source = card.source
    assert isinstance(source, HubSource)
    pool = sum(size for side, size in sizes.items() if side not in source.splits)
    split = card.split.model_copy(update={"n_pool": pool or sum(sizes.values()), "sizes": sizes})
    return card.model_copy(update={"split": split, "fingerprints": {}})


SMALL = {"train": 6, "validation": 3, "test": 4}


def test_cifar10_and_cifar100_are_read_from_the_columns_of_the_hub(tmp_path: Path) -> None:
    small = [photo(32, 32) for _ in range(9)]
    fine = list(CATALOGUE["cifar100"].classes)
    fine[fine.index("crab")] = "cra"  # as the Hub has it
    labels = [26, 0, 99, 1, 2, 3, 4, 5, 6]
    for name, n, features in (
        ("cifar10", 10, {"label": ClassLabel(names=list(CATALOGUE["cifar10"].classes))}),
        ("cifar100", 100, {"fine_label": ClassLabel(names=fine), "coarse_label": ClassLabel(num_classes=20)}),
    ):
        card = shrunk(CATALOGUE[name], SMALL)
        assert isinstance(card.source, HubSource)
        for split, count in (("train", 9), ("test", 4)):
            columns = {key: [label % n for label in labels[:count]] for key in features if key != "coarse_label"}
            columns |= {"coarse_label": [7] * count} if name == "cifar100" else {}
            write(
                tmp_path / card.source.mirror / f"{split}-00000-of-00001.parquet",
                {"img": ImageFeature(), **features},
                {"img": [cell(image) for image in small[:count]], **columns},
            )
        sides = load_sides(card, tmp_path)
        assert {side: len(data) for side, data in sides.items()} == SMALL
        ids = split_by_rank(name, 9, {"train": 6, "validation": 3})
        for side, members in ids.items():
            for position, row in enumerate(members.tolist()):
                pixels = np.asarray(small[row]).transpose(2, 0, 1)
                assert (sides[side].images[position].numpy() == pixels).all()
                assert int(sides[side].labels[position]) == labels[row] % n


@pytest.mark.parametrize("side", [32, 64, 128])
def test_celeba_takes_the_flag_male_and_crops_before_it_resizes(side: int, tmp_path: Path) -> None:
    card = shrunk(CATALOGUE[f"celeba-male-{side}"], SMALL)
    faces = [photo(178, 218) for _ in range(9)]
    male = [True, False, False] * 3
    features = {"image": ImageFeature(), "celeb_id": Value("int64"), "Bald": Value("bool"), "Male": Value("bool")}
    for split, n in (("train", 9), ("test", 4)):
        columns = {"celeb_id": [1] * n, "Bald": [not flag for flag in male[:n]], "Male": male[:n]}
        cells = [cell(face) for face in faces[:n]]
        write(tmp_path / f"celeba/{split}-00000-of-00001.parquet", features, {"image": cells, **columns})
    sides = load_sides(card, tmp_path)
    assert sides["test"].labels.tolist() == [1, 0, 0, 1]
    expected = faces[2].crop((0, 20, 178, 198)).resize((side, side), Image.Resampling.LANCZOS)
    assert (sides["test"].images[2].numpy() == np.asarray(expected).transpose(2, 0, 1)).all()


def test_camelyon_is_tested_on_another_hospital(tmp_path: Path) -> None:
    card = shrunk(CATALOGUE["camelyon17"], SMALL)
    features = {"image": ImageFeature(), "label": ClassLabel(names=["normal", "tumor"])}
    patches = [photo(96, 96, "RGBA").convert("RGB") for _ in range(9)]
    for split, n in (("train", 9), ("validation", 4)):
        columns = {"image": [cell(patch) for patch in patches[:n]], "label": [n % 2 for n in range(n)]}
        write(tmp_path / f"camelyon17_wilds/{split}-00000-of-00001.parquet", features, columns)
    sides = load_sides(card, tmp_path)
    assert sides["test"].images.shape == (4, 3, 32, 32)
    assert sides["test"].labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["imagenet-32", "imagenet-128", "places365-32"])
def test_public_photographs_of_any_size_and_mode_become_squares(name: str, tmp_path: Path) -> None:
    card = shrunk(CATALOGUE[name], {"train": 5})
    assert isinstance(card.source, HubSource)
    images = [photo(50, 40), photo(40, 60, "L"), photo(45, 45, "CMYK"), photo(200, 150), photo(33, 32)]
    cells = [cell(image, kind="JPEG") for image in images[:4]] + [cell(images[4])]
    features = {"image": ImageFeature(), "label": ClassLabel(names=list(card.classes))}
    file = tmp_path / card.source.mirror / "train-00000-of-00001.parquet"
    write(file, features, {"image": cells, "label": [0, 7, 3, 5, 364]})
    train = load_sides(card, tmp_path)["train"]
    assert train.labels.tolist() == [0, 7, 3, 5, 364]
    for row, stored in enumerate(cells):
        opened = Image.open(io.BytesIO(stored["bytes"]))
        expected = apply_steps(opened, ("to-rgb", "centre-crop", "lanczos"), card.shape[1:])
        assert (train.images[row].numpy() == np.asarray(expected).transpose(2, 0, 1)).all()

    renamed = list(card.classes)
    renamed[3] = "something else"
    write(file, features | {"label": ClassLabel(names=renamed)}, {"image": cells, "label": [0] * 5})
    with pytest.raises(DataError, match=r"first that differs is number 3: .*'something else'"):
        load_sides(card, tmp_path)


def eurosat(root: Path, names: list[str], splits: dict[str, slice], name_column: str | None) -> list[Image.Image]:
    """Write EuroSAT of another split and row order; an image is a function of its name."""
    classes = list(CATALOGUE["eurosat"].classes)
    features: dict[str, Any] = {"image": ImageFeature(), "label": ClassLabel(names=classes)}
    images = [photo_of(name) for name in names]
    for split, rows in splits.items():
        columns: dict[str, Sequence[Any]] = {
            "image": [
                cell(image, None if name_column else f"{name}.jpg") for image, name in zip(images, names, strict=True)
            ][rows],
            "label": [classes.index(name.split("_")[0]) for name in names][rows],
        }
        if name_column:
            features[name_column] = Value("string")
            columns |= {name_column: names[rows]}
        write(root / f"{split}-00000-of-00001.parquet", features, columns)
    return images


def photo_of(name: str) -> Image.Image:
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_eurosat_is_numbered_by_file_name_whatever_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DPIB_DATA", raising=False)
    card = shrunk(CATALOGUE["eurosat"], SMALL)
    names = [f"{name}_{n}" for name in ("River", "Forest", "SeaLake") for n in (1, 2, 10, 11)] + ["Pasture_3"]
    eurosat(tmp_path / "mirror/eurosat", names, {"train": slice(0, 9), "test": slice(9, None)}, None)
    mirrored = load_sides(card, tmp_path / "mirror")

    others = names[::-1]
    splits = {"train": slice(0, 4), "validation": slice(4, 8), "test": slice(8, None)}
    eurosat(tmp_path / "hub", others, splits, "image_id")
    real = datasets.load_dataset

    def hub(repo: str, revision: str | None, split: str) -> Any:
        assert (repo, revision, split) == ("timm/eurosat-rgb", None, "train+validation+test")
        files = {part: str(tmp_path / f"hub/{part}-*.parquet") for part in splits}
        return real("parquet", data_files=files, split=split)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    fetched = load_sides(card)
    for side, data in mirrored.items():
        assert data.fingerprint == fetched[side].fingerprint
    ids = split_by_rank("eurosat", 13, SMALL)["test"].tolist()
    first = photo_of(sorted(names)[ids[0]]).resize((32, 32), Image.Resampling.LANCZOS)
    assert torch.equal(mirrored["test"].images[0], torch.from_numpy(np.asarray(first).transpose(2, 0, 1).copy()))


def test_a_file_name_that_occurs_twice_numbers_nothing(tmp_path: Path) -> None:
    card = shrunk(CATALOGUE["eurosat"], SMALL)
    names = [f"River_{n}" for n in range(12)] + ["River_3"]
    eurosat(tmp_path / "eurosat", names, {"train": slice(0, 9), "test": slice(9, None)}, None)
    with pytest.raises(DataError, match="file name of its own"):
        load_sides(card, tmp_path)
