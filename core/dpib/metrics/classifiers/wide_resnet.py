"""WideResNet: normalisation and activation before each convolution, dropout inside the blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.metrics.classifiers.residual import initialise_convolutions


class WideResNet(nn.Module):
    """Classify images whose sides are multiples of four, at least 8 pixels.

    Args:
        depth: 6n + 4.
        widen: factor on the widths 16, 32 and 64.
        dropout: share of activations dropped between the two convolutions of a block.
        n_channels: C of the images.
        n_classes: K.

    Source:
        Zagoruyko and Komodakis, 2016.
    """

    def __init__(self, depth: int, widen: int, dropout: float, n_channels: int, n_classes: int) -> None:
        super().__init__()
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        layers: list[nn.Module] = [nn.Conv2d(n_channels, widths[0], 3, padding=1, bias=False)]
        for stage in range(3):
            for index in range((depth - 4) // 6):
                narrow = widths[stage + 1] if index else widths[stage]
                layers.append(_Block(narrow, widths[stage + 1], 2 if stage and not index else 1, dropout))
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(widths[-1], n_classes)
        nn.init.zeros_(self.classify.bias)
        initialise_convolutions(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of float images (B, C, H, W) in [-1, 1]."""
        return self.classify(self.features(images.contiguous(memory_format=torch.channels_last)))


class _Block(nn.Module):
    """Two convolutions beside the identity, or beside a projection of the normalised input where the width changes."""

    def __init__(self, narrow: int, wide: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(narrow), nn.BatchNorm2d(wide)
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Conv2d(narrow, wide, 1, stride=stride, bias=False) if narrow != wide else None

    def forward(self, inputs: Tensor) -> Tensor:
        active = F.relu(self.norm1(inputs))
        inside = self.dropout(F.relu(self.norm2(self.conv1(active))))
        return self.conv2(inside) + (self.project(active) if self.project else inputs)
