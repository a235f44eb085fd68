"""Projection discriminator with group norm, for DP-SGD: what it computes of an image depends on that image alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 32


class FirstBlock(nn.Module):
    """Residual block that starts from pixels and halves height and width."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = _norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Sequential(nn.AvgPool2d(2), _norm(channels), nn.Conv2d(channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, width, H/2, W/2)."""
        h = self.conv2(F.relu(self.norm(self.conv1(x))))
        return F.avg_pool2d(h, 2) + self.skip(x)


class DownBlock(nn.Module):
    """Residual block that halves height and width, or keeps them."""

    def __init__(self, width: int, halve: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Sequential(_norm(width), nn.Conv2d(width, width, 1)) if halve else nn.Identity()
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, H/2, W/2), or to the same shape."""
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return self.pool(h) + self.pool(self.skip(x))


class ProjectionDiscriminator(nn.Module):
    """Image and label to a score; high for real ones.

    The score is linear in the features h, summed over positions, plus the inner product of h and a row of the label
    table. All hidden widths are ``2 * d_conv_dim``. Blocks that halve: below a side of 32 two of three, at 32 two of
    four, above four of four.

    Args:
        shape: (channels, side, side) of an image; the side must be at least 4.
        n_classes: rows of the label table.
        d_conv_dim: half of the hidden width.

    Source:
        Miyato, Koyama (2018), with group instead of spectral norm; sizes as in DPImageBench (2025), section 5.
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, d_conv_dim: int) -> None:
        super().__init__()
        channels, side, _ = shape
        width = 2 * d_conv_dim
        halving = (True, False) if side < 32 else (True, False, False) if side == 32 else (True, True, True)
        self.blocks = nn.Sequential(FirstBlock(channels, width), *(DownBlock(width, halve) for halve in halving))
        self.score = nn.Linear(width, 1)
        self.labels = nn.Embedding(n_classes, width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                nn.init.orthogonal_(module.weight)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map float images (N, C, H, W) in [-1, 1] and labels int64 (N,) to scores (N,)."""
        h = F.relu(self.blocks(images)).sum((2, 3))
        return self.score(h).squeeze(1) + (self.labels(labels) * h).sum(1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(_GROUPS, channels), channels)
