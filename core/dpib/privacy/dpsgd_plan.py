"""What a method says of its DP-SGD: the loss and the plan. Light: Opacus is loaded when training starts (``dpsgd``)."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor

from dpib.spec import Frozen

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps images uint8 (B, C, H, W) and labels int64 (B,) to losses (B·K,), image-major: row b·K + k is copy k of b.

A loss may draw from torch's global generators, for noise levels, noise images or dropped labels: during a pass they
are seeded from the run's secret, anew for every pass, so that the draws are fresh, unpublished and independent from
row to row. It must use a row of draws for one record only, and draw rows independently (no shared noise, no
stratification across records). Draws from public randomness must be functions of the record, not of its position:
see ``dpib.privacy.hashing.RecordHash``. Why either keeps the sensitivity at C: ``docs/engine.md``.

A loss keeps no state, in buffers or frozen parameters of the model or elsewhere: what it saw is private, and so is the
number of passes, which follows from the size of the sample.
"""


class DpSgdPlan(Frozen):
    """What DP-SGD will do, fixed before it sees data.

    Attributes:
        steps: noisy updates, those on empty batches included.
        sample_rate: probability q with which each record enters a step.
        clipping_norm: L2 bound C on one record's gradient. Far beyond 1e±30 squares would vanish, or sums of float32 be
            infinite, and C would bound nothing.
        noise_multiplier: noise standard deviation over C; None: the smallest that fits the remaining budget.
        noise_multiplicity: K, loss rows per record; their gradients are averaged *before* clipping, so one record
            still contributes one vector of norm at most C (Dockhorn et al. 2023, section 3.2).
    """

    steps: int = Field(ge=1)
    sample_rate: float = Field(gt=0, le=1)
    clipping_norm: float = Field(ge=1e-30, le=1e30)
    noise_multiplier: float | None = Field(default=None, gt=0)
    noise_multiplicity: int = Field(default=1, ge=1)
