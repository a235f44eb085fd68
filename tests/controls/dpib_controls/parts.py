"""Releases on disjoint parts of the records, once right and once with a part's knowledge in the hands of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dpib.api import PartModel, PrivateDataset
from dpib_controls.correct import ClassMeans, pixels

_PARTS = 2
_ROUNDS = 2


class MeanModel:
    """Knows the mean image of every class of its part, and says how far given images are from it."""

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def warm_up(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Learn the means of the part."""
        sums = torch.zeros(self._n_classes, images[0].numel()).index_add(0, labels, pixels(images))
        return {"means": sums / labels.bincount(minlength=self._n_classes).clamp(min=1)[:, None]}

    def respond(
        self, state: dict[str, Any], images: Tensor, labels: Tensor, query: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        """Return the way from the given image of each class to the mean."""
        return state, state["means"] - query["images"]


class PartMeans(ClassMeans):
    """Mean images that follow the noisy advice of all parts in turn; correct."""

    def model(self) -> PartModel:
        """Return what every part runs."""
        return MeanModel(self.task.n_classes)

    def fit(self, private: PrivateDataset) -> None:
        """Move from grey towards the means."""
        n_pixels, k = torch.Size(self.task.shape).numel(), self.task.n_classes
        parts = private.plan_part_releases(
            self.model(), _PARTS * _ROUNDS, parts=_PARTS, label="means", shape=(k, n_pixels), row_norm=1.0
        )
        self.means = torch.full((k, n_pixels), 0.5)
        for step in range(_PARTS * _ROUNDS):
            self.means = (self.means + parts.release(step, {"images": self.means})).clamp(0, 1)


class SharedModel(MeanModel):
    """Saves work: what the first part learnt serves all."""

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._kept: dict[str, Any] | None = None

    def warm_up(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Learn from the first part that comes."""
        if self._kept is None:
            self._kept = super().warm_up(images, labels)
        return self._kept


class SharedWarmUp(PartMeans):
    """Lets every part start from one part's means and charges as if parts were disjoint."""

    def model(self) -> PartModel:
        """Return the model that remembers."""
        return SharedModel(self.task.n_classes)
