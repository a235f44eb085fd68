"""What a statistic gives for a chunk of records, clipped and summed by the harness: the sensitivity by construction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OuterProducts:
    """Long rows given by short factors, as gradients of linear layers are.

    Row i is the concatenation, over the pairs, of the flattened outer product of ``left[i]`` and ``right[i]``. Its
    norm and the sums of rows are exact and never need the rows themselves.

    Attributes:
        pairs: float tensors ``left`` (B, P) and ``right`` (B, Q) for each block of P · Q columns.
    """

    pairs: tuple[tuple[Tensor, Tensor], ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(left.shape[1] * right.shape[1] for left, right in self.pairs)


Rows = Tensor | OuterProducts
"""Float rows (B, D), or their factors."""

Statistic = Callable[[Tensor, Tensor], Rows]
"""Maps images uint8 (B, C, H, W) and labels int64 (B,) to one float row per record, each from its own record alone.

A statistic may draw from torch's global generators: while it runs they are seeded from the run's secret, anew for every
release, so that the draws are fresh, unpublished and independent from row to row. It must use a row of draws for one
record only, and draw rows independently. Draws from public randomness must be functions of the record, not of its
position: see ``dpib.privacy.hashing.RecordHash``. Why either keeps the sensitivity at C: ``docs/engine.md``.
"""


def row_width(rows: Rows, count: int) -> int | None:
    """Return the number of columns D, or None if these are not ``count`` float rows."""
    parts = [part for pair in rows.pairs for part in pair] if isinstance(rows, OuterProducts) else [rows]
    if any(part.ndim != 2 or len(part) != count or not part.numel() or not part.is_floating_point() for part in parts):
        return None
    return rows.width if isinstance(rows, OuterProducts) else rows.shape[1]


def clip_rows(rows: Tensor, clipping_norm: float) -> Tensor:
    """Return float64 rows of L2 norm at most ``clipping_norm``; a row that is not finite becomes zero."""
    rows = rows.detach().double()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(torch.isfinite(norms), rows * (clipping_norm / norms.clamp(min=clipping_norm)), 0.0)


def clipped_sum(rows: Rows, classes: Tensor, n_classes: int, clipping_norm: float) -> Tensor:
    """Return the sum of clipped rows of each class.

    Args:
        rows: B rows of width D.
        classes: int64 (B,), in 0..n_classes-1.
        n_classes: K.
        clipping_norm: bound on the L2 norm of what each record adds; a row that is not finite adds nothing.

    Returns:
        Float64 (K, D).
    """
    if isinstance(rows, Tensor):
        clipped = clip_rows(rows, clipping_norm)
        return clipped.new_zeros(n_classes, clipped.shape[1]).index_add_(0, classes, clipped)
    pairs = [_factors(left, right) for left, right in rows.pairs]
    sizes = [size * _norms(left) * _norms(right) for left, right, size in pairs]
    norms = _norms(torch.cat(sizes, dim=1))
    finite, scale = torch.isfinite(norms), clipping_norm / norms.clamp(min=clipping_norm)
    blocks = []
    for left, right, size in pairs:
        left, right = torch.where(finite, left * (size * scale), 0.0), torch.where(finite, right, 0.0)
        sums = [left[classes == k].T @ right[classes == k] for k in range(n_classes)]
        blocks.append(torch.stack(sums).flatten(1))
    return torch.cat(blocks, dim=1)


def _factors(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both factors with largest entries of 1, and the size of their product: no norm over- or underflows."""
    left, right = left.detach().double(), right.detach().double()
    tiny = torch.finfo(left.dtype).tiny
    p, q = (part.abs().amax(1, keepdim=True).clamp(min=tiny) for part in (left, right))
    return left / p, right / q, p * q


def _norms(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True)
