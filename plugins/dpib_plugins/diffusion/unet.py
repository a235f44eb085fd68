"""The U-Net that estimates noise: two blocks a level on the way down, three on the way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.api import ConfigError
from dpib_plugins.diffusion.blocks import Attention, ResidualBlock, TimeAndClass, conv, group_norm


class Level(nn.Module):
    """A residual block and, at chosen resolutions, attention after it."""

    def __init__(self, block: ResidualBlock, attention: Attention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention or nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (N, C, H, W) and the embedding (N, E)."""
        return cast(Tensor, self.attention(self.block(x, embedding)))


class UNet(nn.Module):
    """NCSN++ without FIR filters, conditioned by addition on noise level and class.

    Args:
        shape: (channels, side, side) of an image.
        n_classes: K; the class table has K + 1 rows, the last for "no class given".
        width: channels at multiplier 1, divisible by 4, at least 4.
        multipliers: of the width, one per level; each level has half the resolution of the one before.
        attention: resolutions at which blocks are followed by attention; the middle always has it.
        blocks: residual blocks per level on the way down; one more on the way up.
        patch: side of the squares of pixels that become the channels of one position before the first level.

    Raises:
        ConfigError: if the sizes do not fit.

    Source:
        Song et al. 2021; sizes of DPImageBench, appendix B.2.2.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        width: int = 32,
        multipliers: Sequence[int] = (2, 4),
        attention: Sequence[int] = (16,),
        blocks: int = 2,
        patch: int = 1,
    ) -> None:
        super().__init__()
        _check(shape, width, multipliers, patch)
        self.patch = patch
        channels, size, e = shape[0] * patch**2, shape[1] // patch, 4 * width
        self.embed = TimeAndClass(width, n_classes)
        self.enter = conv(channels, width, 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, c = [width], width
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                wide = multiplier * width
                self.down.append(Level(ResidualBlock(c, wide, e), Attention(wide) if size in attention else None))
                c = wide
                skips.append(c)
            if level + 1 < len(multipliers):
                self.down.append(Level(ResidualBlock(c, c, e, "down"), None))
                skips.append(c)
                size //= 2
        self.middle = nn.ModuleList([Level(ResidualBlock(c, c, e), Attention(c)), Level(ResidualBlock(c, c, e), None)])
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for i in range(blocks + 1):
                wide, attend = multiplier * width, size in attention and i == blocks
                self.up.append(Level(ResidualBlock(c + skips.pop(), wide, e), Attention(wide) if attend else None))
                c = wide
            if level:
                self.up.append(Level(ResidualBlock(c, c, e, "up"), None))
                size *= 2
        self.norm, self.exit = group_norm(c), conv(c, channels, 3, scale=0.0)

    def forward(self, x: Tensor, level: Tensor, labels: Tensor) -> Tensor:
        """Map noisy images (N, C, H, W), noise levels (N,) and labels int64 (N,) in 0..K to (N, C, H, W)."""
        embedding = self.embed(level, labels)
        h = self.enter(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        skips = [h]
        for part in self.down:
            h = part(h, embedding)
            skips.append(h)
        for part in self.middle:
            h = part(h, embedding)
        for part in self.up:
            resampling = part.block.resample  # type: ignore[union-attr]
            h = part(h if resampling else torch.cat([h, skips.pop()], dim=1), embedding)
        h = self.exit(F.silu(self.norm(h)))
        return F.pixel_shuffle(h, self.patch) if self.patch > 1 else cast(Tensor, h)


def _check(shape: tuple[int, int, int], width: int, multipliers: Sequence[int], patch: int) -> None:
    factor = patch * 2 ** (len(multipliers) - 1)
    if shape[1] != shape[2] or shape[1] % factor:
        raise ConfigError(
            f"Images of {shape[1]}x{shape[2]} pixels do not fit patch = {patch} and {len(multipliers)} multipliers: "
            f"expected a square whose side is a multiple of {factor}."
        )
    if width % 4 or any(m * width > 128 and m * width % 32 for m in (1, *multipliers)):
        raise ConfigError(f"width = {width}: expected a multiple of 4, and multiples of 32 for more than 128 channels.")
