"""Randomness inside a private loss that is public, yet the same for a record wherever it stands in its batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PRIME = 2**31 - 1
_BITS = 53
_MASK_34, _MASK_37, _MASK_33 = 2**34 - 1, 2**37 - 1, 2**33 - 1


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


_GOLDEN, _FIRST, _SECOND = (_signed(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class RecordHash(nn.Module):
    """Numbers that are a function of a record, a copy's number and public randomness alone.

    A loss that draws by position in the batch, from public randomness, moves the draws of other records when one
    record enters: the sensitivity is then not C. With these numbers a record's gradient depends on that record only,
    and adding one adds exactly one term. Equal records get equal numbers.

    A record is hashed twice by a universal family modulo 2³¹ - 1 (Carter, Wegman 1979); copies and draws are mixed in
    by SplitMix64 (Steele, Lea, Flood 2014). All arithmetic is in integers: exact on every device, in every batch.

    Args:
        shape: (channels, height, width) of a record; at most 2²³ values.
    """

    _multipliers: Tensor
    _key: Tensor

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        n_values = shape[0] * shape[1] * shape[2] + 1
        self.register_buffer("_multipliers", torch.zeros(2, n_values, dtype=torch.int64))
        self.register_buffer("_key", torch.zeros((), dtype=torch.int64))

    def renew(self, generator: torch.Generator) -> None:
        """Choose a new function, from public randomness (a CPU generator of ``RunContext.seeds``)."""
        self._multipliers.copy_(torch.randint(1, _PRIME, self._multipliers.shape, generator=generator))
        self._key.copy_(torch.randint(2**62, (), generator=generator))

    @torch.no_grad()
    def numbers(self, images: Tensor, labels: Tensor, copies: int = 1, draws: int = 1) -> Tensor:
        """Return numbers that look uniform in 0..2⁵³ - 1; take them modulo M for an index below M ≪ 2⁵³.

        Args:
            images: uint8 (B, C, H, W).
            labels: int64 (B,).
            copies: K, rows per record, image-major as in ``Loss``.
            draws: D, numbers per row.

        Returns:
            int64 (B·K, D).
        """
        values = torch.cat([images.flatten(1).long(), labels[:, None]], dim=1)
        low, high = ((values * row).sum(1) % _PRIME for row in self._multipliers)  # below 2⁶³ before the remainder
        places = torch.arange(copies * draws, device=values.device) + 1
        word = (low + (high << 31) ^ self._key)[:, None] + places * _GOLDEN
        word = (word ^ (word >> 30 & _MASK_34)) * _FIRST
        word = (word ^ (word >> 27 & _MASK_37)) * _SECOND
        word = word ^ (word >> 31 & _MASK_33)
        return (word & 2**_BITS - 1).view(-1, draws)

    @staticmethod
    def as_uniform(numbers: Tensor) -> Tensor:
        """Return what ``numbers`` gave as float64 strictly between 0 and 1."""
        return ((numbers >> 1).double() + 0.5) * 2.0 ** (1 - _BITS)
