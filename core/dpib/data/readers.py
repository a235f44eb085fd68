"""Labelled images that somebody else made: a parquet file, an ``.npz`` without pickle, or a folder per class."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dpib.data.imagefile import load_parquet
from dpib.data.images import LabelledImages
from dpib.data.pixels import bits_per_channel
from dpib.errors import DataError
from dpib.spec import TaskInfo

MAX_IMAGES = 1_000_000
MAX_RATIO = 100
"""Largest compression ratio of an archive member; real images are far below, bombs far above."""
_SUFFIXES = {".png", ".jpg", ".jpeg"}
_MODES = {"1", "L", "P", "RGB"}


def read_images(path: Path, task: TaskInfo) -> LabelledImages:
    """Read labelled images of a task's shape and classes.

    Args:
        path: a ``.parquet`` file (columns image, label); an ``.npz`` file (``images`` uint8 (N, H, W), (N, H, W, C)
            or (N, C, H, W), ``labels`` integers (N,)); or a folder with one subfolder of PNG or JPEG files per
            class, named by class or by label number; a name counts before a number.
        task: shape and classes to expect.

    Raises:
        DataError: if it is none of these, or its images do not fit the task.
    """
    if not path.exists():
        raise DataError(f"No images at {path}: give a folder with one subfolder per class, an .npz or a .parquet file.")
    if path.is_dir():
        data = _read_folder(path, task)
    elif path.suffix == ".npz":
        data = _read_npz(path, task)
    elif path.suffix == ".parquet":
        data = load_parquet(path, task.shape, task.n_classes)
    else:
        raise DataError(f"{path}: expected a folder with one subfolder per class, an .npz file or a .parquet file.")
    data.check_against(task.shape, task.n_classes, str(path))
    if not len(data):
        raise DataError(f"{path} holds no images.")
    return data


def _read_folder(path: Path, task: TaskInfo) -> LabelledImages:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    numbers = {str(label): label for label in range(task.n_classes)}
    numbers |= {name: label for label, name in enumerate(task.classes)}
    unknown = [folder.name for folder in folders if folder.name not in numbers]
    if unknown or not folders:
        found = ", ".join(unknown[:5]) or "no subfolders"
        raise DataError(f"{path}: expected one subfolder per class ({', '.join(task.classes[:12])}), found {found}.")
    images, labels = [], []
    for folder in folders:
        for file in sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in _SUFFIXES):
            images.append(_read_image(file, task.shape))
            labels.append(numbers[folder.name])
    if not images:
        raise DataError(f"{path}: the class folders hold no PNG or JPEG files.")
    return LabelledImages(torch.from_numpy(np.stack(images)), torch.tensor(labels, dtype=torch.int64))


def _read_image(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    channels, height, width = shape
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            if image.size != (width, height):
                raise DataError(f"{file}: expected {width}x{height} pixels, got {image.size[0]}x{image.size[1]}.")
            bits = bits_per_channel(image)
            if bits > 8 or image.mode not in _MODES:
                raise DataError(
                    f"{file}: expected 8 bits a channel without transparency, got mode {image.mode} of {bits}. "
                    "Convert it first."
                )
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: the image cannot be decoded ({error}).") from error
    if channels == 1 and (pixels != pixels[..., :1]).any():
        raise DataError(f"{file}: the dataset is grey, the image has colours. Convert it to grey first.")
    return pixels[..., :channels].transpose(2, 0, 1)


def _read_npz(path: Path, task: TaskInfo) -> LabelledImages:
    channels, height, width = task.shape
    try:
        with zipfile.ZipFile(path) as archive:
            shape, dtype = _checked_header(archive, "images.npy")
            n_labels, labels_dtype = _checked_header(archive, "labels.npy")
        fits = {(channels, height, width), (height, width, channels)} | ({(height, width)} if channels == 1 else set())
        if shape[1:] not in fits:
            raise DataError(f"{path}: expected images of shape {task.shape}, got {shape[1:]}.")
        if labels_dtype.kind not in "iu" or n_labels != shape[:1]:
            raise DataError(f"{path}: expected {shape[0]} labels as integers, got {labels_dtype} {n_labels}.")
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npz ({error}).") from error
    if dtype != np.uint8:
        unusable = int((~np.isfinite(images)).sum()) if dtype.kind == "f" else 0
        found = f"{dtype}, {unusable} of {images.size} values not finite" if unusable else str(dtype)
        raise DataError(
            f"{path}: expected pixels as uint8 in 0..255, got {found}. Scale them to 0..255, round, and store them "
            "as uint8."
        )
    if shape[1:] == (height, width):
        images = images[:, None]
    elif shape[1:] == (height, width, channels):
        images = images.transpose(0, 3, 1, 2)
    return LabelledImages(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def _checked_header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return an array's shape and type; refuse one that the payload cannot hold, before anything is allocated."""
    info = archive.getinfo(member)
    if info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise DataError(f"{member}: unpacks to more than {MAX_RATIO} times its size; not read.")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        payload = info.file_size - file.tell()
    count = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
    if dtype.kind not in "iuf" or not shape or shape[0] > MAX_IMAGES or count != payload:
        raise DataError(
            f"{member}: expected numbers of at most {MAX_IMAGES} images, got {dtype} {shape} in {payload} bytes."
        )
    return shape, dtype
