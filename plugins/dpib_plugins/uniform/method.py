"""Uniform noise: the reference for chance level.

Idea: Every pixel is uniform in 0..255, whatever the label.

Paper: none.

Released: nothing; private data is never read, so ε = 0.

Public: image shape.

Deviations: none; there is nothing published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpib.api import PrivateDataset, Synthesizer


class Uniform(Synthesizer):
    """Returns random pixels."""

    def fit(self, private: PrivateDataset) -> None:
        """Do nothing."""

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        generator = self.context.seeds.torch("generate")
        return torch.randint(256, (len(labels), *self.task.shape), generator=generator, dtype=torch.uint8)
