"""The networks that the table is about, in plain torch: two NCSN++ U-Nets and DP-GAN's discriminator.

Layer lists and parameter counts as in DPImageBench: 1,485,217 at 28x28x1 with 10 labels, 3,867,299 at 32x32x3 with
1000, 1,647,847 for the discriminator at 32x32x3 with 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class Block(nn.Module):
    """BigGAN-shaped residual block: norm, swish, resampling, 3x3, time embedding, norm, swish, 3x3."""

    def __init__(self, c_in: int, c_out: int, embedding: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.first, self.conv1 = _norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(embedding, c_out)
        self.second, self.conv2 = _norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out or resample else nn.Identity()

    def _resample(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (N, C, H, W) and the swished embedding (N, E)."""
        h = self.conv1(self._resample(F.silu(self.first(x))))
        h = self.conv2(F.silu(self.second(h + self.time(embedding)[:, :, None, None])))
        return (self.skip(self._resample(x)) + h) / math.sqrt(2)


class Attention(nn.Module):
    """Single-head self-attention over positions; four 1x1 projections."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same."""
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view_as(x)  # or Opacus misreads it
        return (x + self.out(h)) / math.sqrt(2)


class UNet(nn.Module):
    """NCSN++ without FIR filters: two blocks a level down, three up, attention at one resolution and in the middle."""

    def __init__(
        self, channels: int, size: int, multipliers: tuple[int, ...], attention: int, n_labels: int, width: int = 32
    ) -> None:
        super().__init__()
        e = 4 * width
        self.width = width
        self.classes = nn.Embedding(n_labels + 1, width)
        self.embed1, self.embed2 = nn.Linear(width, e), nn.Linear(e, e)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, c = [width], width
        for level, m in enumerate(multipliers):
            for _ in range(2):
                attend = Attention(m * width) if size == attention else nn.Identity()
                self.down.append(nn.ModuleList([Block(c, m * width, e), attend]))
                c = m * width
                skips.append(c)
            if level + 1 < len(multipliers):
                self.down.append(nn.ModuleList([Block(c, c, e, "down"), nn.Identity()]))
                skips.append(c)
                size //= 2
        self.middle1, self.middle, self.middle2 = Block(c, c, e), Attention(c), Block(c, c, e)
        for level, m in reversed(list(enumerate(multipliers))):
            for i in range(3):
                attend = Attention(m * width) if size == attention and i == 2 else nn.Identity()
                self.up.append(nn.ModuleList([Block(c + skips.pop(), m * width, e), attend]))
                c = m * width
            if level:
                self.up.append(nn.ModuleList([Block(c, c, e, "up"), nn.Identity()]))
                size *= 2
        self.last, self.exit = _norm(c), nn.Conv2d(c, channels, 3, padding=1)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Map images (N, C, H, W), noise levels (N,) and labels (N,) to (N, C, H, W)."""
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000) / (half - 1)))
        angles = noise[:, None] * rates
        e = torch.cat([angles.sin(), angles.cos()], 1) + self.classes(labels)
        e = F.silu(self.embed2(F.silu(self.embed1(e))))
        h = self.enter(x)
        skips = [h]
        for block, attend in self.down:  # type: ignore[misc]
            h = attend(block(h, e))
            skips.append(h)
        h = self.middle2(self.middle(self.middle1(h, e)), e)
        for block, attend in self.up:  # type: ignore[misc]
            h = attend(block(h if block.resample else torch.cat([h, skips.pop()], 1), e))
        return self.exit(F.silu(self.last(h)))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels), channels)


class FirstBlock(nn.Module):
    """The discriminator's entry: 3x3, norm, ReLU, 3x3, half the resolution; beside it norm and 1x1."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(c_in, c_out, 3, padding=1), _group_norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Sequential(_group_norm(c_in), nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, D, H/2, W/2)."""
        h = self.conv2(F.relu(self.norm(self.conv1(x))))
        return F.avg_pool2d(h, 2) + self.skip(F.avg_pool2d(x, 2))


class DiscriminatorBlock(nn.Module):
    """Norm, ReLU, 3x3 twice, optionally at half the resolution; then the skip has a norm and a 1x1, too."""

    def __init__(self, channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.norm1, self.conv1 = _group_norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = _group_norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        downsampled = nn.Sequential(_group_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        self.skip = downsampled if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W)."""
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        h = h if not self.down else F.avg_pool2d(h, 2)
        return h + (F.avg_pool2d(self.skip(x), 2) if self.down else x)


class Discriminator(nn.Module):
    """Projection discriminator of four blocks, group normalisation, no spectral normalisation."""

    def __init__(self, channels: int = 3, n_labels: int = 2, width: int = 160) -> None:
        super().__init__()
        rest = (DiscriminatorBlock(width, down) for down in (True, False, False))
        self.blocks = nn.Sequential(FirstBlock(channels, width), *rest)
        self.score = nn.Linear(width, 1)
        self.classes = nn.Embedding(n_labels, width)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map images (N, C, H, W) and labels (N,) to scores (N,)."""
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.score(h)[:, 0] + (self.classes(labels) * h).sum(1)
