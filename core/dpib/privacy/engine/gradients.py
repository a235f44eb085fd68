"""What a layer leaves behind for every image of a pass until the clipping factors are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from dpib.errors import UnsupportedMechanism
from dpib.privacy.engine.clipping import clipping_factors, squared_norms


class PerImage(Protocol):
    """The gradients of one parameter, one for each of B images, in whatever form."""

    def squares(self, smallest: float) -> Tensor:
        """Return the squared norms, float64 (B,); ``smallest`` as in ``squared_norms``."""

    def without(self, dropped: Tensor) -> PerImage:
        """Return the same with zeros for the images of a mask (B,): zero times what is not finite is no zero."""

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """Return the sum of the gradients times ``factors`` (B,), in the parameter's shape."""

    def materialise(self) -> Tensor:
        """Return the gradients (B, *shape)."""

    def to(self, dtype: torch.dtype) -> PerImage:
        """Return the same with all further arithmetic in ``dtype``, the parameter's own."""


@dataclass
class Kept:
    """Gradients as a tensor (B, *shape)."""

    rows: Tensor

    def squares(self, smallest: float) -> Tensor:
        """See ``PerImage``."""
        return squared_norms(self.rows, smallest)

    def without(self, dropped: Tensor) -> Kept:
        """See ``PerImage``."""
        return Kept(_zeroed(self.rows, dropped))

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """See ``PerImage``."""
        rows = self.rows.flatten(1)
        return (factors.to(rows) @ rows).view(self.rows.shape[1:])

    def materialise(self) -> Tensor:
        """See ``PerImage``."""
        return self.rows

    def to(self, dtype: torch.dtype) -> Kept:
        """See ``PerImage``."""
        return Kept(self.rows.to(dtype))


@dataclass
class Rows:
    """Gradients of a table that are zero but in a few rows: ``values`` (U, D) at (``image``, ``index``), distinct."""

    values: Tensor
    image: Tensor
    index: Tensor
    n_images: int
    n_rows: int

    def squares(self, smallest: float) -> Tensor:
        """See ``PerImage``."""
        found = torch.zeros(self.n_images, dtype=torch.float64, device=self.values.device)
        return found.index_add_(0, self.image, squared_norms(self.values, smallest))

    def without(self, dropped: Tensor) -> Rows:
        """See ``PerImage``."""
        return replace(self, values=_zeroed(self.values, dropped[self.image]))

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """See ``PerImage``."""
        weights = factors[self.image].to(self.values)
        table = self.values.new_zeros(self.n_rows, self.values.shape[1])
        return table.index_add_(0, self.index, self.values * weights[:, None])

    def materialise(self) -> Tensor:
        """See ``PerImage``."""
        table = self.values.new_zeros(self.n_images, self.n_rows, self.values.shape[1])
        table[self.image, self.index] = self.values
        return table

    def to(self, dtype: torch.dtype) -> Rows:
        """See ``PerImage``."""
        return replace(self, values=self.values.to(dtype))


@dataclass
class Deferred:
    """Norms alone, by products of Gram matrices; the sum is one ordinary weight gradient of weighted rows.

    Attributes:
        inputs: of the layer, (B·K, ...), image-major.
        slopes: of the loss at its outputs, (B·K, ...).
        copies: K.
        norms: maps both, reshaped by nobody, to squared norms (B,), in float64 inside.
        contract: maps both to the weight gradient summed over all rows.
        split: maps both to the gradients (B, *shape).
    """

    inputs: Tensor
    slopes: Tensor
    copies: int
    norms: Callable[[Tensor, Tensor], Tensor]
    contract: Callable[[Tensor, Tensor], Tensor]
    split: Callable[[Tensor, Tensor], Tensor]

    def squares(self, smallest: float) -> Tensor:  # noqa: ARG002 - it is float64 anyway
        """See ``PerImage``."""
        return self.norms(self.inputs, self.slopes)

    def without(self, dropped: Tensor) -> Deferred:
        """See ``PerImage``."""
        rows = dropped.repeat_interleave(self.copies)
        return replace(self, inputs=_zeroed(self.inputs, rows), slopes=_zeroed(self.slopes, rows))

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """See ``PerImage``."""
        weights = factors.to(self.slopes).repeat_interleave(self.copies)
        return self.contract(self.inputs, self.slopes * weights.view(-1, *(1,) * (self.slopes.ndim - 1)))

    def materialise(self) -> Tensor:
        """See ``PerImage``."""
        return self.split(self.inputs, self.slopes)

    def to(self, dtype: torch.dtype) -> Deferred:
        """See ``PerImage``. The norm and the sum are two computations: in bfloat16 they would disagree."""
        return replace(self, inputs=self.inputs.to(dtype), slopes=self.slopes.to(dtype))


def _zeroed(rows: Tensor, dropped: Tensor) -> Tensor:
    return torch.where(dropped.view(-1, *(1,) * (rows.ndim - 1)), 0.0, rows)


_SMALL = 4096
"""Numbers in a parameter up to which its gradients are joined with others: calls would cost more than their work."""


class Tape:
    """Collects the per-image gradients of one backward pass.

    Attributes:
        n_images: B, records in the pass.
        copies: K, rows per record.
        running: whether the engine's own backward pass is under way; no other may reach the layers.
    """

    def __init__(self, copies: int) -> None:
        self.n_images, self.copies, self.running = 0, copies, False
        self._parts: dict[nn.Parameter, PerImage] = {}

    @property
    def touched(self) -> set[nn.Parameter]:
        """The parameters with gradients."""
        return set(self._parts)

    def start(self, n_images: int) -> None:
        """Forget what was collected and expect a pass over ``n_images`` records."""
        self.n_images = n_images
        self._parts.clear()

    def add(self, parameter: nn.Parameter, part: PerImage) -> None:
        """Add the gradients of one use of a parameter; several uses are summed image by image, before any norm."""
        earlier, part = self._parts.get(parameter), part.to(parameter.dtype)
        self._parts[parameter] = part if earlier is None else Kept(earlier.materialise() + part.materialise())

    def take(self, parameter: nn.Parameter) -> PerImage:
        """Return and forget the gradients of a parameter."""
        return self._parts.pop(parameter)

    def clipped_sums(self, clipping_norm: float) -> dict[nn.Parameter, Tensor]:
        """Return, by parameter, the sum of gradients clipped jointly to ``clipping_norm``; forget them.

        Small parameters are joined first, so that a network of hundreds of them takes tens of calls.
        """
        groups = self._joined()
        squares = torch.stack([part.squares(clipping_norm) for _, part in groups]).sum(0)
        factors = clipping_factors(squares, clipping_norm)
        dropped = factors == 0
        some = bool(dropped.any())
        found: dict[nn.Parameter, Tensor] = {}
        while groups:
            parameters, part = groups.pop()
            total = (part.without(dropped) if some else part).weighted_sum(factors)
            pieces = total.flatten().split([parameter.numel() for parameter in parameters])
            found |= {p: piece.view(p.shape) for p, piece in zip(parameters, pieces, strict=True)}
        return found

    def _joined(self) -> list[tuple[list[nn.Parameter], PerImage]]:
        groups: list[tuple[list[nn.Parameter], PerImage]] = []
        small: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter, part in self._parts.items():
            if isinstance(part, Kept) and parameter.numel() <= _SMALL:
                small.setdefault(parameter.dtype, []).append(parameter)
            else:
                groups.append(([parameter], part))
        for parameters in small.values():
            rows = [self._parts[parameter].materialise().flatten(1) for parameter in parameters]
            groups.append((parameters, Kept(torch.cat(rows, 1))))
        self._parts.clear()
        return groups

    def expect_running(self) -> None:
        """Refuse a backward pass that is not the engine's.

        Raises:
            UnsupportedMechanism: if a loss differentiates through the model by itself, as gradient penalties do.
        """
        if not self.running:
            raise UnsupportedMechanism(
                "The loss takes a gradient through the model by itself (a gradient penalty?), which DP-SGD cannot "
                "clip record by record."
            )
