"""The latent U-Net: residual blocks and spatial transformers that look at an embedding of the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.api import ConfigError
from dpib_plugins.latent.adapters import Denoiser
from dpib_plugins.latent.blocks import (
    HEAD_WIDTH,
    Attention,
    Downsample,
    ResidualBlock,
    TimeEmbedding,
    Transformer,
    Upsample,
    group_norm,
    zeroed,
)

CONTEXT = 512
"""Width of the class embedding."""


class Level(nn.Module):
    """A residual block, a transformer where there is one, and a change of resolution where there is one."""

    def __init__(
        self, block: ResidualBlock, transformer: Transformer | None, resample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.block, self.transformer, self.resample = block, transformer, resample

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
        """Map (N, C, H, W), the time embedding (N, E) and the context (N, 1, 512)."""
        h = self.block(x, embedding)
        if self.transformer is not None:
            h = self.transformer(h, context)
        return cast(Tensor, h if self.resample is None else self.resample(h))


class LatentUNet(Denoiser):
    """Estimates the noise in a latent, given time step and class.

    Args:
        shape: (channels, side, side) of a latent.
        n_classes: K, rows of the class table. There is no row for "no class": nothing here uses guidance.
        width: channels at multiplier 1; a multiple of 8.
        multipliers: of the width, one per level; each level has half the resolution of the one before.
        attention: factors of downsampling (1, 2, 4, …) with transformers; the middle always has one.
        blocks: residual blocks per level on the way down; one more on the way up.

    Raises:
        ConfigError: if the sizes do not fit.

    Source:
        Rombach et al. 2022; sizes of DPImageBench.
    """

    projections: ClassVar[Mapping[str, str]] = {"q": "q", "k": "k", "v": "v", "out": "out"}

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        attention: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        _check(shape, width, multipliers)
        e, last = 4 * width, len(multipliers) - 1

        def transformer(channels: int, level: int) -> Transformer | None:
            return Transformer(channels, CONTEXT) if 2**level in attention else None

        self.classes = nn.Embedding(n_classes, CONTEXT)
        self.time = TimeEmbedding(width)
        self.enter = nn.Conv2d(shape[0], width, 3, padding=1)
        self.down = nn.ModuleList()
        skips, c = [width], width
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                wide = multiplier * width
                self.down.append(Level(ResidualBlock(c, wide, e), transformer(wide, level)))
                c = wide
                skips.append(c)
            if level < last:
                self.down.append(Downsample(c))
                skips.append(c)
        self.middle = Level(ResidualBlock(c, c, e), Transformer(c, CONTEXT))
        self.middle_end = ResidualBlock(c, c, e)
        self.up = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for i in range(blocks + 1):
                wide = multiplier * width
                up = Upsample(wide) if level and i == blocks else None
                self.up.append(Level(ResidualBlock(c + skips.pop(), wide, e), transformer(wide, level), up))
                c = wide
        self.norm, self.exit = group_norm(c), zeroed(nn.Conv2d(c, shape[0], 3, padding=1))

    @property
    def transformers(self) -> list[nn.Module]:
        """All transformers, in the order of the forward pass."""
        return [module for module in self.modules() if isinstance(module, Transformer)]

    @property
    def attentions(self) -> list[nn.Module]:
        """All attention, in the order of ``modules``."""
        return [module for module in self.modules() if isinstance(module, Attention)]

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Map noisy latents (N, C, H, W), time steps int64 (N,) and labels int64 (N,) to (N, C, H, W)."""
        embedding, context = self.time(times), self.classes(labels)[:, None]
        h = self.enter(x)
        skips = [h]
        for part in self.down:
            h = part(h) if isinstance(part, Downsample) else part(h, embedding, context)
            skips.append(h)
        h = self.middle_end(self.middle(h, embedding, context), embedding)
        for part in self.up:
            h = part(torch.cat([h, skips.pop()], dim=1), embedding, context)
        return cast(Tensor, self.exit(F.silu(self.norm(h))))


def _check(shape: tuple[int, int, int], width: int, multipliers: Sequence[int]) -> None:
    factor = 2 ** (len(multipliers) - 1)
    if shape[1] % factor:
        raise ConfigError(
            f"Latents of {shape[1]}x{shape[2]} do not fit {len(multipliers)} multipliers: expected a multiple of "
            f"{factor}. Use fewer multipliers, or another codec."
        )
    if width % HEAD_WIDTH:
        raise ConfigError(f"width = {width}: expected a multiple of {HEAD_WIDTH}.")
