from __future__ import annotations

import hashlib
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dpib.data.catalog import CARDS
from dpib.data.images import Splits
from dpib.data.load import load_public, load_splits, locate
from dpib.data.sources import ENVIRONMENT
from dpib.data.splits import split_by_rank
from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule
from dpib.errors import ConfigError, DataError

WriteShard = Callable[..., Path]
CATALOGUE = {card.name: card for card in CARDS}


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def fingerprints(splits: Splits) -> dict[str, str]:
    return {side: getattr(splits, side).fingerprint for side in ("train", "validation", "test")}


def with_source(card: DatasetSpec, **changes: object) -> DatasetSpec:
    return card.model_copy(update={"source": card.source.model_copy(update=changes)})


def test_a_grey_mirror_comes_back_pixel_for_pixel(
    toy_card: DatasetSpec, toy_mirror: Path, toy_pixels: dict[str, np.ndarray]
) -> None:
    splits = load_splits(toy_card, toy_mirror)
    ids = split_by_rank("toy", 40, {"train": 30, "validation": 10})
    for side in ("train", "validation"):
        data = getattr(splits, side)
        assert torch.equal(data.images, torch.from_numpy(toy_pixels["train"][ids[side].numpy(), None]))
        assert torch.equal(data.labels, ids[side] % 2)
    assert torch.equal(splits.test.images, torch.from_numpy(toy_pixels["test"][:, None]))


def test_the_environment_names_the_mirror(
    toy_card: DatasetSpec, toy_mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(toy_mirror))
    location = locate(toy_card)
    assert (location.kind, location.place) == ("mirror", str(toy_mirror / "toy"))
    assert location.n_bytes == sum(file.stat().st_size for file in (toy_mirror / "toy").iterdir())
    assert len(load_splits(toy_card).train) == 30


def test_a_public_colour_jpeg_mirror_keeps_rgb_order(
    toy_card: DatasetSpec, tmp_path: Path, write_shard: WriteShard
) -> None:
    colours = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]], dtype=np.uint8)
    flat = np.broadcast_to(colours[:, None, None], (3, 16, 16, 3)).copy()
    names = ("red", "green", "blue", "in another split")
    write_shard(tmp_path / "toy/train-00000-of-00001.parquet", flat, [0, 1, 2], names, kind="JPEG")
    card = with_source(toy_card, splits={"train": "train"}).model_copy(
        update={
            "role": "public",
            "shape": (3, 16, 16),
            "classes": names[:3],
            "split": SplitRule(kind="all-train", n_pool=3, sizes={"train": 3}),
        }
    )
    public = load_public(card, tmp_path)
    assert public.spec is card
    assert public.data.images.shape == (3, 3, 16, 16)
    assert (public.data.images.float().mean((2, 3)) - torch.from_numpy(colours).float()).abs().max() < 4
    assert public.data.labels.tolist() == [0, 1, 2]


def test_a_known_fingerprint_is_enforced_and_an_unknown_one_is_offered(
    toy_card: DatasetSpec, toy_mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        known = fingerprints(load_splits(toy_card, toy_mirror))
    assert all(digest in caplog.text for digest in known.values())
    caplog.clear()
    load_splits(toy_card.model_copy(update={"fingerprints": known}), toy_mirror)
    assert not caplog.records
    wrong = toy_card.model_copy(update={"fingerprints": known | {"validation": "0" * 64}})
    with pytest.raises(DataError, match=f"validation side: expected fingerprint {'0' * 64}, got {known['validation']}"):
        load_splits(wrong, toy_mirror)


def test_roles_are_not_confused(toy_card: DatasetSpec, toy_mirror: Path) -> None:
    with pytest.raises(ConfigError, match="which is sensitive"):
        load_public(toy_card, toy_mirror)
    with pytest.raises(ConfigError, match="which is public"):
        load_splits(CATALOGUE["omniglot-28"], toy_mirror)


def test_without_mirror_and_hub_the_way_out_is_told(toy_card: DatasetSpec, tmp_path: Path, no_mirror: None) -> None:
    with pytest.raises(DataError, match=r"DPIB_DATA is not set.*--data-dir.*toy/train-\*\.parquet") as caught:
        load_splits(toy_card)
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="has no folder 'toy'"):
        load_splits(toy_card, tmp_path)
    with pytest.raises(DataError, match=r"expected a folder.*nowhere"):
        load_splits(toy_card, tmp_path / "nowhere")


def test_a_set_without_mirror_is_looked_for_on_the_hub(tmp_path: Path, no_mirror: None) -> None:
    assert locate(CATALOGUE["mnist"]).place == "hf://datasets/ylecun/mnist@main"
    assert locate(CATALOGUE["mnist"], tmp_path).kind == "hub"
    assert locate(CATALOGUE["digits"]).kind == "bundled"


def test_an_unreachable_hub_is_a_data_error(tmp_path: Path) -> None:
    code = """
from dpib.data.catalog.mnist import CARD
from dpib.data.load import load_splits
from dpib.errors import DataError
try:
    load_splits(CARD)
except DataError as error:
    print(error)
"""
    env = {key: value for key, value in os.environ.items() if key != ENVIRONMENT}
    env |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "hf://datasets/ylecun/mnist@main: cannot be downloaded" in done.stdout
    assert "set DPIB_DATA or pass --data-dir" in done.stdout


def test_a_hub_copy_takes_the_same_path_and_offers_its_commit(
    toy_card: DatasetSpec,
    toy_mirror: Path,
    no_mirror: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import datasets

    real, commit, asked = datasets.load_dataset, "ab" * 20, []

    def hub(repo: str, revision: str | None, split: str) -> object:
        asked.append((repo, revision, split))
        table = real("parquet", data_files={split: f"{toy_mirror.parent}/mirror*/toy/{split}-*.parquet"}, split=split)
        monkeypatch.setattr(type(table), "cache_files", [{"filename": f"/cache/{commit}/toy-{split}.arrow"}])
        return table

    expected = fingerprints(load_splits(toy_card, toy_mirror))
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert fingerprints(load_splits(with_source(toy_card, repo="org/toy"))) == expected
    assert asked == [("org/toy", None, "train"), ("org/toy", None, "test")]
    assert f"revision='{commit}'" in caplog.text


def test_missing_truncated_and_corrupt_files_are_named(
    toy_card: DatasetSpec, toy_mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = toy_mirror / "toy/train-00001-of-00002.parquet"
    content = shard.read_bytes()

    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet' is damaged"):
        load_splits(toy_card, toy_mirror)

    shard.write_bytes(content[:8] + b"\xff" * 200 + content[208:])
    with pytest.raises(DataError, match=r"damaged: train-00001-of-00002\.parquet"):
        load_splits(toy_card, toy_mirror)

    shard.unlink()
    with pytest.raises(DataError, match=r"split 'train'.*expected 40 rows, got 24"):
        load_splits(toy_card, toy_mirror)

    (toy_mirror / "toy/test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"to hold test-\*\.parquet, found none"):
        load_splits(toy_card, toy_mirror)
    assert capsys.readouterr().out == ""


BAD_CELLS = {
    "not an image": (b"\x89PNG nonsense", "row 3: the image cannot be decoded"),
    "no image": (None, "row 3: expected image bytes and a label"),
    "other size": (np.zeros((5, 4), np.uint8), "row 3: expected a L image of 5x4 pixels, got L of 4x5"),
    "colour": (np.zeros((4, 5, 3), np.uint8), "row 3: expected a L image of 5x4 pixels, got RGB of 5x4"),
}


@pytest.mark.parametrize(("cell", "message"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_image_is_named_by_split_and_row(
    cell: object,
    message: str,
    toy_card: DatasetSpec,
    toy_mirror: Path,
    toy_pixels: dict[str, np.ndarray],
    write_shard: WriteShard,
) -> None:
    images = list(toy_pixels["test"])
    images[3] = cell  # type: ignore[call-overload]
    write_shard(toy_mirror / "toy/test-00000-of-00001.parquet", images, [0, 1] * 4)
    with pytest.raises(DataError, match=f"toy, source split 'test', {message}"):
        load_splits(toy_card, toy_mirror)


def test_other_classes_labels_and_columns_are_refused(
    toy_card: DatasetSpec, toy_mirror: Path, toy_pixels: dict[str, np.ndarray], write_shard: WriteShard
) -> None:
    test = toy_mirror / "toy/test-00000-of-00001.parquet"
    write_shard(test, toy_pixels["test"], [0, 1] * 4, names=("dog", "cat"))
    with pytest.raises(DataError, match=r"expected 2 classes \(cat, dog\), got 2 classes \(dog, cat\)"):
        load_splits(toy_card, toy_mirror)
    write_shard(test, toy_pixels["test"], [0, 1] * 4, names=("cat", "dog", "fish"))
    with pytest.raises(DataError, match="expected 2 classes"):
        load_splits(toy_card, toy_mirror)
    write_shard(test, toy_pixels["test"], [0, -1] * 4)
    with pytest.raises(DataError, match=r"test side: expected labels in 0\.\.1, got -1\.\.0"):
        load_splits(toy_card, toy_mirror)
    with pytest.raises(DataError, match=r"expected columns 'picture' \(Image\)"):
        load_splits(with_source(toy_card, image_column="picture"), toy_mirror)


def test_digits_match_their_fingerprints() -> None:
    splits = load_splits(CATALOGUE["digits"])
    assert fingerprints(splits) == dict(CATALOGUE["digits"].fingerprints)
    assert [len(side) for side in (splits.train, splits.validation, splits.test)] == [1297, 200, 300]
    # Halves up: level 8 of 16 is 127.5, stored as 128; the ends are exact.
    assert {0, 16, 128, 255} <= set(splits.train.images.unique().tolist())


@pytest.mark.mirror
@pytest.mark.parametrize("name", ["mnist", "pneumoniamnist", "eurosat"])
def test_the_mirror_matches_the_card(name: str) -> None:
    if not os.environ.get(ENVIRONMENT):
        pytest.skip(f"{ENVIRONMENT} is not set")
    card = CATALOGUE[name]
    assert isinstance(card.source, HubSource)
    splits = load_splits(card)
    assert fingerprints(splits) == dict(card.fingerprints)
    if name == "mnist":
        # MD5 of the original uncompressed train-images-idx3-ubyte, as widely published.
        pool = torch.empty(60_000, 28, 28, dtype=torch.uint8)
        for side, ids in split_by_rank("mnist", 60_000, {"train": 55_000, "validation": 5_000}).items():
            pool[ids] = getattr(splits, side).images[:, 0]
        idx = struct.pack(">4i", 2051, 60_000, 28, 28) + pool.numpy().tobytes()
        assert hashlib.md5(idx).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
