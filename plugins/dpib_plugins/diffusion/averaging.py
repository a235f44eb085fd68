"""Exponential moving average of weights, with a warm-up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return an average that starts at the network's weights now.

    Update n = 1, 2, … keeps the share min(decay, (1 + n)/(10 + n)) of what it was.

    Args:
        network: what is averaged; call ``update_parameters`` after each of its updates.
        decay: in 0..1.

    Source:
        DPDM's ``ExponentialMovingAverage``.
    """

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, n: Tensor | int) -> None:
        keep = min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(list(averages), list(weights), 1 - keep)

    average = AveragedModel(network, multi_avg_fn=update)
    average.update_parameters(network)  # the first update copies
    return average
