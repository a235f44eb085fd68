"""What the private stage trains: chosen layers, or low-rank additions to frozen ones. All else stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from dpib_plugins.latent.blocks import Attention
from dpib_plugins.latent.unet import LatentUNet

Projection = Literal["q", "k", "v", "out"]


def classes_and_transformers(network: LatentUNet, first: int) -> list[nn.Parameter]:
    """Return the parameters of the class table and of the transformers from number ``first`` on, counted from 1.

    Source:
        DP-LDM (Liu et al. 2023), whose ablation finds the later transformers to matter most.
    """
    modules: list[nn.Module] = [network.classes, *network.transformers[first - 1 :]]
    return [parameter for module in modules for parameter in module.parameters()]


class LowRank(nn.Module):
    """A frozen linear layer W plus B A, of which A and B are trained: Wx + (scale/rank) B(Ax).

    A starts with entries from N(0, 1/rank²), B at zero. Both are plain linear layers, whose per-record gradients the
    engine knows.

    Args:
        base: the layer that is frozen.
        rank: inner dimension.
        scale: LoRA's alpha.

    Source:
        Hu et al., LoRA, ICLR 2022; initialisation as peft's ``"gaussian"``.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.normal_(self.a.weight, std=1 / rank)
        nn.init.zeros_(self.b.weight)
        self._factor = scale / rank

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, P, in) to (N, P, out)."""
        return cast(Tensor, self.base(x) + self._factor * self.b(self.a(x)))


def add_low_rank(network: LatentUNet, projections: Sequence[Projection], rank: int, scale: float) -> list[nn.Parameter]:
    """Put ``LowRank`` layers into all attention of a network, give it a new class table, and return what to train.

    Args:
        network: changed in place, on its device; new weights come from torch's global generator.
        projections: of attention, which of the four get one. Where one has a bias, the bias is trained, too.
        rank: see ``LowRank``.
        scale: see ``LowRank``.

    Returns:
        The class table, all A and B, and the biases of the layers they were added to.
    """
    device = next(network.parameters()).device
    nn.init.normal_(network.classes.weight)
    trained = list(network.classes.parameters())
    for attention in [module for module in network.modules() if isinstance(module, Attention)]:
        for name in projections:
            layer = LowRank(getattr(attention, name), rank, scale).to(device)
            setattr(attention, name, layer)
            trained += [*layer.a.parameters(), *layer.b.parameters()]
            if layer.base.bias is not None:
                trained.append(layer.base.bias)
    return trained
