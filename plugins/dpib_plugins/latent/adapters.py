"""What the private stage trains: chosen layers, or low-rank additions to frozen ones. All else stays as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

Projection = Literal["q", "k", "v", "out"]


class Denoiser(nn.Module, ABC):
    """A network that maps noisy latents, time steps and labels to the noise, and the parts of it that can be trained.

    Attributes:
        projections: where in an attention its four linear layers are, by ``Projection``.
        classes: the class table.
    """

    projections: ClassVar[Mapping[str, str]]
    classes: nn.Embedding

    @property
    @abstractmethod
    def transformers(self) -> Sequence[nn.Module]:
        """All transformers, in the order of the forward pass."""

    @property
    @abstractmethod
    def attentions(self) -> Sequence[nn.Module]:
        """All attention; its order is that in which ``add_low_rank`` draws."""


def classes_and_transformers(network: Denoiser, first: int) -> list[nn.Parameter]:
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


def add_low_rank(network: Denoiser, projections: Sequence[Projection], rank: int, scale: float) -> list[nn.Parameter]:
    """Put ``LowRank`` layers into all attention of a network, give it a new class table, and return what to train.

    Args:
        network: changed in place, on its device; new weights come from torch's global generator.
        projections: of attention, which of the four get one. Where one has a bias, the bias is trained, too.
        rank: see ``LowRank``.
        scale: see ``LowRank``.

    Returns:
        The class table, all A and B, and the biases of the layers they were added to.
    """
    device = network.classes.weight.device
    nn.init.normal_(network.classes.weight)
    trained = list(network.classes.parameters())
    for attention in network.attentions:
        for name in projections:
            place = network.projections[name]
            layer = LowRank(cast(nn.Linear, attention.get_submodule(place)), rank, scale).to(device)
            attention.set_submodule(place, layer)
            trained += [*layer.a.parameters(), *layer.b.parameters()]
            if layer.base.bias is not None:
                trained.append(layer.base.bias)
    return trained
