"""Generated images of one step, and which of them each record is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PRIME = 2**31 - 1


class FakePool(nn.Module):
    """A pool of public images; a public hash of a record says which one is its partner.

    A record's partner depends on the record and on public randomness, never on the other records of its batch, their
    number or its position among them. So adding a record leaves all other gradients as they are.

    Args:
        shape: (channels, side, side) of an image.
        size: M, images in the pool.
        n_classes: labels go round 0..K-1.

    Source:
        Universal hashing: Carter, Wegman (1979).
    """

    images: Tensor
    labels: Tensor
    _multipliers: Tensor

    def __init__(self, shape: tuple[int, int, int], size: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("labels", torch.arange(size) % n_classes)
        n_values = shape[0] * shape[1] * shape[2] + 1
        self.register_buffer("_multipliers", torch.zeros(n_values, dtype=torch.int64))

    @torch.no_grad()
    def refill(self, images: Tensor, generator: torch.Generator) -> None:
        """Take new images, float (M, C, H, W) in [0, 1] in the order of ``labels``, and a new hash."""
        self.images.copy_(images)
        self._multipliers.copy_(torch.randint(1, _PRIME, self._multipliers.shape, generator=generator))

    def partners(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return, for records uint8 (B, C, H, W) with labels (B,), the numbers of their partners, int64 (B,)."""
        values = torch.cat([images.flatten(1).long(), labels[:, None]], dim=1)
        return (values * self._multipliers).sum(1) % _PRIME % len(self.images)  # below 2^55 before the remainder
