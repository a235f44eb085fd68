"""Norms of per-image gradients and the factors that clip them: full precision whatever torch's switches say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HOPELESS = 1e30
"""Gradients this many times longer than the bound count as not finite: scaling them down would underflow."""

_CHUNK = 256
"""Squares summed in the gradient's own precision before float64 takes over."""
_TINY = 1e-9
"""Below this bound float32 squares could underflow to nothing and still matter."""

_NEW_SWITCHES: list[tuple[str, str, Any]] = [
    ("cuda.matmul", "fp32_precision", "ieee"),
    ("cudnn.conv", "fp32_precision", "ieee"),
    ("mkldnn.matmul", "fp32_precision", "ieee"),
    ("mkldnn.conv", "fp32_precision", "ieee"),
]
_OLD_SWITCHES: list[tuple[str, str, Any]] = [("cuda.matmul", "allow_tf32", False), ("cudnn", "allow_tf32", False)]
_SWITCHES = _NEW_SWITCHES if hasattr(torch.backends, "fp32_precision") else _OLD_SWITCHES


def _backend(path: str) -> Any:
    owner: Any = torch.backends
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switch TF32 and bfloat16 products off: they keep 10 and 7 bits, and a bound is no bound at 10 bits.

    Both are the user's to switch on, for the network: an inexact gradient is still clipped to its own norm. What may
    not be inexact is the norm, the factor and their product.
    """
    before = [(_backend(path), name, getattr(_backend(path), name)) for path, name, _ in _SWITCHES]
    for (owner, name, _), (_, _, exact) in zip(before, _SWITCHES, strict=True):
        setattr(owner, name, exact)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def squared_norms(rows: Tensor, smallest: float = 1.0) -> Tensor:
    """Return the squared L2 norm of every row.

    Sums 256 squares at a time in the rows' precision, the rest in float64: at most 256 roundings of 6e-8 each, all
    of them relative because all terms are positive, so a float32 norm is exact to 1e-5 at worst and about 1e-7 in
    practice, at a fifteenth of the time of float64 throughout. What overflows is infinite, never small.

    Args:
        rows: (B, ...) floats.
        smallest: the bound the norms will be compared with; for one below 1e-9 everything is float64.

    Returns:
        Float64 (B,).
    """
    flat = rows.flatten(1) if smallest >= _TINY else rows.flatten(1).double()
    whole = flat.shape[1] // _CHUNK * _CHUNK
    chunks = torch.linalg.vector_norm(flat[:, :whole].unflatten(1, (-1, _CHUNK)), dim=2)
    rest = torch.linalg.vector_norm(flat[:, whole:], dim=1)
    return chunks.double().square().sum(1) + rest.double().square()


def clipping_factors(squares: Tensor, clipping_norm: float) -> Tensor:
    """Return min(1, C / norm) for squared norms, float64 (B,); 0 for what is not finite or beyond all bounds."""
    norms = squares.sqrt()
    finite = norms < clipping_norm * HOPELESS  # false for NaN
    return torch.where(finite, clipping_norm / norms.clamp(min=clipping_norm), 0.0)
