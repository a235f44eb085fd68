"""Generated images of one step, and which of them each record is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpib.api import RecordHash


class FakePool(nn.Module):
    """A pool of public images; a public hash of a record says which one is its partner.

    A record's partner depends on the record and on public randomness, never on the other records of its batch, their
    number or its position among them. So adding a record leaves all other gradients as they are.

    Args:
        shape: (channels, side, side) of an image.
        size: M, images in the pool.
    """

    images: Tensor
    labels: Tensor

    def __init__(self, shape: tuple[int, int, int], size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self._hash = RecordHash(shape)

    @torch.no_grad()
    def refill(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Take new images, float (M, C, H, W) in [0, 1], with their labels, int64 (M,), and a new hash."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self._hash.renew(generator)

    def partners(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return, for records uint8 (B, C, H, W) with labels (B,), the numbers of their partners, int64 (B,)."""
        return self._hash.numbers(images, labels)[:, 0] % len(self.images)
