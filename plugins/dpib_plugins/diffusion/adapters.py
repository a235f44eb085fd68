"""Which parameters the private stage trains. The others are frozen: no gradient, no noise, no change."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dpib_plugins.diffusion.blocks import Attention
from dpib_plugins.diffusion.unet import UNet


def conditioning_and_attention(network: UNet) -> list[nn.Parameter]:
    """Return the parameters of class table, time embedding, input convolution and all attention projections.

    The normalisations in front of attention are not among them.

    Source:
        DP-LDM (SD) of DPImageBench: modules 0 to 3 of its network and every projection.
    """
    modules: list[nn.Module] = [network.embed, network.enter]
    for module in network.modules():
        if isinstance(module, Attention):
            modules += [module.q, module.k, module.v, module.out]
    return [parameter for module in modules for parameter in module.parameters()]


def train_only(network: nn.Module, chosen: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Freeze all parameters of a network but the chosen ones, and return those."""
    network.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return list(chosen)
