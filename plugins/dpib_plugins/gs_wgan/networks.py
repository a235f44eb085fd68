"""Generator and critic of GS-WGAN; in neither does an image depend on the others of its batch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

BLOCKS = 3


class UpBlock(nn.Module):
    """Residual block that doubles height and width; pixel norm instead of batch norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.skip = spectral_norm(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, 2H, 2W)."""
        h = self.conv1(_double(F.relu(pixel_norm(x))))
        h = self.conv2(F.relu(pixel_norm(h)))
        return h + _double(self.skip(x))  # a 1x1 convolution commutes with nearest-neighbour upsampling


class Generator(nn.Module):
    """Coin flips and a label to an image in [0, 1].

    Args:
        shape: (channels, side, side) of an image; the first map has a side of ⌈side / 8⌉, what is too much is cropped.
        n_classes: K; the label enters one-hot.
        width: channels of all blocks.
        z_dim: number of coins.

    Source:
        Chen, Orekondy, Fritz (2020), residual generator of the published code, in its sizes; where activations and
        norms stand differs, as ``deviations`` of the card say.
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, width: int, z_dim: int) -> None:
        super().__init__()
        channels, self.side, _ = shape
        self.n_classes, self.width, self.z_dim = n_classes, width, z_dim
        self.start = -(-self.side // 2**BLOCKS)
        self.first = spectral_norm(nn.Linear(z_dim + n_classes, width * self.start**2))
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(BLOCKS)))
        self.last = spectral_norm(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Map noise (N, z_dim) and labels int64 (N,) to float images (N, C, H, W) in [0, 1]."""
        h = self.first(torch.cat([z, F.one_hot(labels, self.n_classes).to(z)], dim=1))
        h = self.blocks(h.view(len(z), self.width, self.start, self.start))
        images = torch.sigmoid(self.last(F.relu(pixel_norm(h))))
        margin = (images.shape[2] - self.side) // 2
        return images[:, :, margin : margin + self.side, margin : margin + self.side]


class Critic(nn.Module):
    """Image and label to a score, high for real ones: linear in the features, plus their product with a label's row.

    Args:
        shape: (channels, side, side) of an image.
        n_classes: rows of the label table.
        width: channels of the first layer; the next ones have twice and four times as many.
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, width: int) -> None:
        super().__init__()
        channels, side, _ = shape
        widths = (channels, width, 2 * width, 4 * width)
        pairs = pairwise(widths)
        self.convs = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 5, stride=2, padding=2)) for a, b in pairs)
        features = widths[-1] * (-(-side // 2 ** len(self.convs))) ** 2
        self.score = nn.Linear(features, 1)
        self.labels = nn.Embedding(n_classes, features)
        nn.init.normal_(self.labels.weight, std=features**-0.5)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map float images (N, C, H, W) in [0, 1] and labels int64 (N,) to scores (N,)."""
        h = images
        for conv in self.convs:
            h = F.relu(conv(h))
        h = h.flatten(1)
        return self.score(h).squeeze(1) + (self.labels(labels) * h).sum(1)


def coins(n: int, z_dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Return fair coin flips, float (n, z_dim), from ``generator`` or torch's global one."""
    return torch.randint(2, (n, z_dim), generator=generator).float()


def pixel_norm(x: Tensor) -> Tensor:
    """Scale the channels of every pixel to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
