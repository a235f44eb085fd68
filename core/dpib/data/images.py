"""The image contract: uint8 (N, C, H, W) in RGB order with int64 labels (N,), everywhere outside a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dpib.dataset_spec import DatasetSpec
from dpib.errors import DataError, RunError


@dataclass(frozen=True)
class LabelledImages:
    """Images with labels.

    Attributes:
        images: uint8 (N, C, H, W), RGB order, 0..255.
        labels: int64 (N,).

    Raises:
        DataError: if dtype or shape is not as stated.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                f"Expected images as uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"Expected labels as int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> LabelledImages:
        return LabelledImages(self.images[index], self.labels[index])

    def check_against(self, shape: tuple[int, int, int], n_classes: int, what: str) -> None:
        """Refuse images of another shape or labels outside ``0..n_classes-1``.

        Raises:
            DataError: names ``what``, what was expected and what was found.
        """
        if tuple(self.images.shape[1:]) != shape:
            raise DataError(f"{what}: expected images of shape {shape}, got {tuple(self.images.shape[1:])}.")
        if len(self) and not (int(self.labels.min()) >= 0 and int(self.labels.max()) < n_classes):
            raise DataError(
                f"{what}: expected labels in 0..{n_classes - 1}, "
                f"got {int(self.labels.min())}..{int(self.labels.max())}."
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels and labels, in order."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class PublicDataset:
    """Public images with their card, or images that a mechanism released in this run; free of (further) privacy cost.

    Attributes:
        spec: the card; None for released images.
        data: images under the labels they shall be learnt with.
        categories: int64 (N,), the card's own class of each image; None where nobody needs to know.
    """

    spec: DatasetSpec | None
    data: LabelledImages
    categories: Tensor | None = None

    def card_classes(self) -> tuple[Tensor, int]:
        """Return the card's own class of each image, int64 (N,), and the number of classes on the card.

        Raises:
            DataError: if the images have no card.
        """
        if self.spec is None or self.categories is None:
            raise DataError("Expected public images with their card and its classes; these have none.")
        return self.categories, len(self.spec.classes)

    def relabelled(self, label_of: Mapping[int, int]) -> PublicDataset:
        """Return the images of some of the card's classes under new labels, in their order.

        Args:
            label_of: class on the card -> label; images of other classes are left out.

        Raises:
            RunError: if no image is left.
        """
        categories, n_categories = self.card_classes()
        table = torch.full((n_categories,), -1)
        table[torch.tensor(list(label_of))] = torch.tensor(list(label_of.values()))
        labels = table[categories]
        kept = (labels >= 0).nonzero().squeeze(1)
        if not len(kept):
            raise RunError(f"None of the {len(label_of)} chosen classes has a public image.")
        return PublicDataset(self.spec, LabelledImages(self.data.images[kept], labels[kept]), categories[kept])


@dataclass(frozen=True)
class Splits:
    """The three sides of a sensitive dataset. ``validation`` serves selection only; ``test`` scores only."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
