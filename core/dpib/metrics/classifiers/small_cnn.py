"""A small convolutional classifier for the CPU tracks: three strided convolutions and one linear layer."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Classify images of 8x8 pixels or more with about 98,000 parameters (98,026 for one channel, ten classes).

    Convolutions run in the channels-last memory layout, which is the faster one on CPUs. Batch normalisation is
    sound here: the network only ever trains on synthetic images.

    Args:
        n_channels: C of the images.
        n_classes: K.
    """

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        widths = (n_channels, 32, 64, 128)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.classify = nn.Linear(4 * widths[-1], n_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of float images (B, C, H, W) in [-1, 1]."""
        return self.classify(self.features(images.contiguous(memory_format=torch.channels_last)))
