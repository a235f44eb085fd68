"""Exponential moving average of weights, with a warm-up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]
Ramp = Callable[[int], float]
"""Maps the number n = 1, 2, … of an update to the largest share in 0..1 that it may keep."""


def gradual(n: int) -> float:
    """Return (1 + n)/(10 + n), as DPDM's and DP-GAN's code."""
    return (1 + n) / (10 + n)


def plain_mean(n: int) -> float:
    """Return 1 - 1/n, which makes the mean of all updates until the decay is reached, as GS-WGAN's code."""
    return 1 - 1 / n


def moving_average(network: nn.Module, decay: float, ramp: Ramp = gradual) -> AveragedModel:
    """Return an average that starts at the network's weights now.

    Update n = 1, 2, … keeps the share min(decay, ramp(n)) of what it was. Without a ramp a training of fewer than
    1/(1 - decay) updates would end with an average that is mostly the first weights.

    Args:
        network: what is averaged; call ``update_parameters`` after each of its updates.
        decay: in 0..1.
        ramp: how the first updates grow into the decay.

    Source:
        DPDM's ``ExponentialMovingAverage``.
    """

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, n: Tensor | int) -> None:
        keep = min(decay, ramp(int(n)))
        torch._foreach_lerp_(list(averages), list(weights), 1 - keep)

    average = AveragedModel(network, multi_avg_fn=update)
    average.update_parameters(network)  # the first update copies
    return average
