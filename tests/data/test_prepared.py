"""Images prepared once: kept, resumed, bounded in memory, refused when there is no room."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpib.data import decode, prepared
from dpib.data.load import load_sides
from dpib.dataset_spec import DatasetSpec
from dpib.errors import DataError, StorageError
from dpib.files import exclusive
from dpib.progress import Reporter, RunEvent

WriteShard = Callable[..., Path]


@pytest.fixture
def resized(toy_card: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """The toy card, cropped and resized; a cache of its own; batches of four, saved one by one."""
    monkeypatch.setenv(prepared.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setattr(decode, "BATCH", 4)
    monkeypatch.setattr(prepared, "_SAVE_EVERY", 4)
    return toy_card.model_copy(update={"shape": (1, 3, 3), "steps": ("centre-crop", "lanczos")})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is decoded, in words, in some order."""
    seen: list[str] = []
    real = decode._pixels

    def watched(encoded: bytes, what: str, how: Any) -> np.ndarray:
        seen.append(what)
        return real(encoded, what, how)

    monkeypatch.setattr(decode, "_pixels", watched)
    return seen


def test_a_prepared_set_is_decoded_once_and_lies_in_a_file(
    resized: DatasetSpec, toy_mirror: Path, decoded: list[str], tmp_path: Path
) -> None:
    first = load_sides(resized, toy_mirror)
    assert len(decoded) == 48
    decoded.clear()
    second = load_sides(resized, toy_mirror)
    assert not decoded
    for side, data in first.items():
        assert data.fingerprint == second[side].fingerprint
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "cache/prepared/toy-") in maps  # pages of a file, not memory of the process
    assert prepared.prepared_bytes(resized) == 48 * (9 + 8)
    second["train"].images[0] = 0  # a copy of the page: the file stays as it is
    assert load_sides(resized, toy_mirror)["train"].fingerprint == first["train"].fingerprint


def test_a_large_map_is_read_only(
    resized: DatasetSpec, toy_mirror: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    expected = load_sides(resized, toy_mirror)["train"].fingerprint
    monkeypatch.setattr(prepared, "_COPY_ON_WRITE_UP_TO", 1)
    data = load_sides(resized, toy_mirror)["train"]
    assert data.fingerprint == expected
    assert not [one for one in recwarn if "writable" in str(one.message)]


def test_changed_files_or_steps_are_prepared_again(
    resized: DatasetSpec, toy_mirror: Path, toy_pixels: dict[str, np.ndarray], write_shard: WriteShard
) -> None:
    before = load_sides(resized, toy_mirror)["test"]
    other = load_sides(resized.model_copy(update={"steps": ("lanczos",)}), toy_mirror)["test"]
    assert other.fingerprint != before.fingerprint
    write_shard(toy_mirror / "toy/test-00000-of-00001.parquet", 255 - toy_pixels["test"], [0, 1] * 4)
    assert load_sides(resized, toy_mirror)["test"].fingerprint != before.fingerprint


def test_a_new_preparation_removes_those_before_it_and_nothing_else(resized: DatasetSpec, toy_mirror: Path) -> None:
    place = prepared.cache_folder() / "prepared"
    for name in ("toy-64-0123456789abcdef", "toy-0123456789abcdef", "toy-mine"):
        (place / name).mkdir(parents=True)
    load_sides(resized, toy_mirror)
    mapped = load_sides(resized.model_copy(update={"steps": ("lanczos",)}), toy_mirror)["test"]
    names = {folder.name for folder in place.iterdir()}
    assert {"toy-64-0123456789abcdef", "toy-mine"} < names
    assert "toy-0123456789abcdef" not in names
    before = mapped.fingerprint
    load_sides(resized, toy_mirror)
    assert len(list(place.iterdir())) == 3
    assert mapped.fingerprint == before


def test_one_at_work_keeps_its_preparation(resized: DatasetSpec, toy_mirror: Path) -> None:
    other = prepared.cache_folder() / "prepared/toy-0123456789abcdef"
    with exclusive(other):
        load_sides(resized, toy_mirror)
        assert other.exists()


def test_of_several_processes_one_prepares_and_the_others_wait(
    resized: DatasetSpec, toy_mirror: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_sides(resized, toy_mirror)["train"].fingerprint
    shutil.rmtree(prepared.cache_folder())
    decoded.clear()
    watched, waits = decode._pixels, threading.Event()

    def slow(encoded: bytes, what: str, how: Any) -> np.ndarray:
        assert waits.wait(10)
        return watched(encoded, what, how)

    def notice(event: RunEvent) -> None:
        if event.message.startswith("Waiting for another process"):
            waits.set()

    monkeypatch.setattr(decode, "_pixels", slow)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(load_sides, resized, toy_mirror, Reporter(notice)) for _ in range(2)]
    assert [sides.result()["train"].fingerprint for sides in both] == [expected] * 2
    assert len(decoded) == 48


@pytest.mark.parametrize("lost", ["images", "labels"])
def test_a_lost_file_is_prepared_again(lost: str, resized: DatasetSpec, toy_mirror: Path, decoded: list[str]) -> None:
    mapped = load_sides(resized, toy_mirror)["train"]
    expected = mapped.fingerprint
    decoded.clear()
    (file,) = prepared.cache_folder().rglob(f"pool-{lost}.npy")
    file.unlink()
    assert load_sides(resized, toy_mirror)["train"].fingerprint == expected
    assert len(decoded) == 40
    (file,) = prepared.cache_folder().rglob("pool-images.npy")
    np.load(file, mmap_mode="r+")[:] = 0
    assert mapped.fingerprint == expected  # who works with the old file keeps it


def test_an_interrupted_preparation_goes_on(
    resized: DatasetSpec, toy_mirror: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {side: data.fingerprint for side, data in load_sides(resized, toy_mirror).items()}
    shutil.rmtree(prepared.cache_folder())
    watched = decode._pixels

    def killed(encoded: bytes, what: str, how: Any) -> np.ndarray:
        if what.endswith("'train', row 22"):
            raise KeyboardInterrupt
        return watched(encoded, what, how)

    monkeypatch.setattr(decode, "_pixels", killed)
    with pytest.raises(KeyboardInterrupt):
        load_sides(resized, toy_mirror)
    decoded.clear()
    monkeypatch.setattr(decode, "_pixels", watched)
    assert {side: data.fingerprint for side, data in load_sides(resized, toy_mirror).items()} == whole
    rows = {int(what.rpartition(" ")[2]) for what in decoded if "'train'" in what}
    assert rows == set(range(20, 40))


def test_a_bad_row_is_named_and_nothing_incomplete_is_served(
    resized: DatasetSpec, toy_mirror: Path, toy_pixels: dict[str, np.ndarray], write_shard: WriteShard
) -> None:
    images: list[Any] = list(toy_pixels["test"])
    images[5] = b"\x89PNG nonsense"
    write_shard(toy_mirror / "toy/test-00000-of-00001.parquet", images, [0, 1] * 4)
    for _ in range(2):
        with pytest.raises(DataError, match="split 'test', row 5: the image cannot be decoded"):
            load_sides(resized, toy_mirror)


def test_no_room_is_said_before_anything_is_read(
    resized: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**9))
    monkeypatch.setattr("dpib.data.load.open_tables", lambda *_: pytest.fail("was opened"))
    imagenet = resized.model_copy(
        update={
            "shape": (3, 128, 128),
            "split": resized.split.model_copy(update={"sizes": {"train": 1_281_167}}),
            "source": resized.source.model_copy(update={"repo": "org/toy"}),
        }
    )
    monkeypatch.delenv("DPIB_DATA", raising=False)
    unfinished = prepared.cache_folder() / "prepared/toy-0123456789abcdef/train-images.npy"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    os.truncate(unfinished, 63 * 10**9)  # its size, and nothing written yet
    with pytest.raises(StorageError, match=r"need 63\.0 GB in .* 1\.0 GB are free.*DPIB_CACHE"):
        load_sides(imagenet)
