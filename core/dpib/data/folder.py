"""A person's own images as a dataset: one folder per class, divided by the names of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dpib.data.images import LabelledImages
from dpib.data.own import count_own, found_classes
from dpib.data.pixels import SUFFIXES, Preprocessing, read_pixels
from dpib.data.splits import split_by_name
from dpib.dataset_spec import DatasetSpec, FolderSource
from dpib.errors import DataError


def preprocessing_of(shape: tuple[int, int, int], window: tuple[float, float] | None) -> Preprocessing:
    """Return what is done to each image of a folder; images are square.

    Raises:
        pydantic.ValidationError: if the side or the window is out of range.
    """
    return Preprocessing(side=shape[1], colour=shape[0] == 3, window=window)


def read_folder(spec: DatasetSpec, source: FolderSource) -> dict[str, LabelledImages]:
    """Read and divide a folder; every image is decoded once, memory is the result.

    Returns:
        Per side N rows: images uint8 (N, C, H, W), labels int64 (N,), in the order of classes and then file names.

    Raises:
        DataError: names the first file that cannot be used, a folder that is no class, or a side without images.
    """
    path = Path(source.path)
    if unknown := sorted(set(found_classes(path)) - set(spec.classes)):
        raise DataError(f"{spec.name}: the folder '{path / unknown[0]}' is no class of the card. Add the folder again.")
    count = count_own(path)
    files = [(file, label) for label, name in enumerate(spec.classes) for file in _files(path / name)]
    how = preprocessing_of(spec.shape, source.window)
    images = np.empty((count, *spec.shape), dtype=np.uint8)
    for row, (file, _) in enumerate(files):
        images[row] = read_pixels(file, str(file), how)
    data = LabelledImages(torch.from_numpy(images), torch.tensor([label for _, label in files], dtype=torch.int64))
    if spec.split.kind == "all-train":
        return {"train": data}
    names = [file.name for file, _ in files]
    sides = split_by_name(spec.name, names, spec.split.n_pool, spec.split.sizes)
    for side, rows in sides.items():
        if not len(rows):
            raise DataError(f"{spec.name}: no file of '{path}' falls into the {side} side. Use more images.")
    return {side: data[rows] for side, rows in sides.items()}


def _files(folder: Path) -> list[Path]:
    """Return the image files of a class, of which ``count_own`` has checked that there is nothing else."""
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return [file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
