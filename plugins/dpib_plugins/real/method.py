"""Real images: the non-private ceiling.

Idea: No synthetic image teaches a classifier more than a real one; the training images show what is left to gain.

Paper: none.

Released: the training images. No privacy, ε = ∞; the card says so and no board ranks it.

Public: nothing is assumed.

Deviations: none; there is nothing published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpib.api import PrivateDataset, Synthesizer


class Real(Synthesizer):
    """Returns training images of the labels asked for."""

    def fit(self, private: PrivateDataset) -> None:
        """Read the images in memory; nothing is stored in the run folder."""
        self._data = private.reveal(label="training images")

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label; an image occurs again only when its class is used up.

        A class without images gets black ones.
        """
        generator = self.context.seeds.torch("generate")
        images = torch.zeros(len(labels), *self.task.shape, dtype=torch.uint8)
        for label in labels.unique():
            wanted = (labels == label).nonzero()[:, 0]
            found = (self._data.labels == label).nonzero()[:, 0]
            if len(found):
                order = found[torch.randperm(len(found), generator=generator)]
                images[wanted] = self._data.images[order[torch.arange(len(wanted)) % len(order)]]
        return images
