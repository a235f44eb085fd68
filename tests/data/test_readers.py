"""Images that strangers made: read when they fit, refused with one message when they do not, never unpickled."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpib.data.readers import read_images
from dpib.errors import DataError
from dpib.spec import TaskInfo

TASK = TaskInfo(dataset="digits", shape=(1, 8, 8), classes=tuple("0123456789"), nominal_size=1297)
COLOUR = TaskInfo(dataset="x", shape=(3, 8, 8), classes=("a", "b"), nominal_size=100)
RNG = np.random.default_rng(0)


def _npz(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    np.savez_compressed(path, images=images, labels=labels)
    return path


@pytest.mark.parametrize("shape", [(4, 8, 8, 3), (4, 3, 8, 8)])
def test_channels_may_come_first_or_last(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    read = read_images(_npz(tmp_path / "x.npz", images, np.array([0, 1, 0, 1])), COLOUR)
    expected = images if shape[1] == 3 else images.transpose(0, 3, 1, 2)
    assert (read.images.numpy() == expected).all()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 9, 8), np.uint8), np.array([0, 1]), "expected images of shape (1, 8, 8), got (9, 8)"),
        (np.zeros((2, 8, 8), np.float32), np.array([0, 1]), "uint8"),
        (np.zeros((2, 8, 8), np.uint8), np.array([0, 10]), "labels"),
        (np.zeros((2, 8, 8), np.uint8), np.array([0.0, 1.0]), "int"),
        (np.zeros((2, 8, 8), np.uint8), np.array([0]), "labels"),
        (np.array([{"pickled": True}] * 2), np.array([0, 1]), "images.npy"),
    ],
)
def test_what_does_not_fit_is_refused(images: np.ndarray, labels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_images(_npz(tmp_path / "x.npz", images, labels), TASK)


def test_a_forged_header_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (900_000, 65_536, 65_536)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(DataError, match=r"images\.npy"):
        read_images(tmp_path / "x.npz", TASK)


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to more than"):
        read_images(_npz(tmp_path / "x.npz", np.zeros((100_000, 8, 8), np.uint8), np.zeros(100_000, int)), TASK)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"not a zip"])
def test_a_damaged_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="npz"):
        read_images(tmp_path / "x.npz", TASK)


def test_a_folder_of_unknown_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="cats"):
        read_images(tmp_path, TASK)


def test_a_folder_named_by_class_counts_before_one_named_by_number(tmp_path: Path) -> None:
    task = TaskInfo(dataset="x", shape=(1, 8, 8), classes=("1", "0"), nominal_size=100)
    for name in task.classes:
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 100 + int(name), np.uint8)).save(tmp_path / name / "one.png")
    read = read_images(tmp_path, task)
    assert dict(zip(read.labels.tolist(), read.images[:, 0, 0, 0].tolist(), strict=True)) == {0: 101, 1: 100}
