"""ResNet and ResNeXt for small images, from torchvision's blocks: three stages, no initial pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck


class ResidualNet(nn.Module):
    """Classify images whose sides are multiples of four, at least 8 pixels.

    A 3x3 convolution, then three stages at full, half and quarter resolution, then the mean over positions. The
    published networks pool windows of a quarter of the side, which is the whole map at every size of the benchmark.

    Args:
        n_channels: C of the images.
        n_classes: K.
        block: torchvision's residual block.
        stem: channels of the first convolution.
        planes: width of the first stage as the block counts it; doubled at each further stage.
        n_blocks: residual blocks per stage.
        groups: cardinality.
        base_width: of torchvision's ``Bottleneck``; a group of the first stage has ``planes * base_width / 64``.

    Source:
        He et al., 2016, Section 4.2, with projections as shortcuts; Xie et al., 2017, Section 5.2.
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        block: type[BasicBlock | Bottleneck],
        stem: int,
        planes: int,
        n_blocks: int,
        groups: int = 1,
        base_width: float = 64,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(n_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)]
        layers.append(nn.ReLU(inplace=True))
        width = stem
        for stage in range(3):
            wide = planes * 2**stage
            for index in range(n_blocks):
                stride = 2 if stage and not index else 1
                shortcut = None
                if stride > 1 or width != wide * block.expansion:
                    shortcut = _projection(width, wide * block.expansion, stride)
                layers.append(block(width, wide, stride, shortcut, groups, base_width))
                width = wide * block.expansion
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(width, n_classes)
        initialise_convolutions(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of float images (B, C, H, W) in [-1, 1]."""
        return self.classify(self.features(images.contiguous(memory_format=torch.channels_last)))


def resnet(depth: int, n_channels: int, n_classes: int) -> nn.Module:
    """Return a ResNet of two-convolution blocks with 16, 32 and 64 channels; ``depth`` is 6n + 2."""
    return ResidualNet(n_channels, n_classes, block=BasicBlock, stem=16, planes=16, n_blocks=(depth - 2) // 6)


def resnext(depth: int, widen: int, n_channels: int, n_classes: int) -> nn.Module:
    """Return a ResNeXt with 8 groups of 64, 128 and 256 channels; its stages end in 64, 128, 256 times ``widen``.

    ``(depth - 2) // 9`` blocks per stage: three at depth 29, two at 28.
    """
    network = ResidualNet(
        n_channels,
        n_classes,
        block=Bottleneck,
        stem=64,
        planes=64 * widen // Bottleneck.expansion,
        n_blocks=(depth - 2) // 9,
        groups=8,
        base_width=64 * Bottleneck.expansion / widen,
    )
    nn.init.kaiming_normal_(network.classify.weight)
    nn.init.zeros_(network.classify.bias)
    return network


def initialise_convolutions(network: nn.Module) -> None:
    """Draw every convolution's weights from a normal distribution of variance 2 / (k² · channels out)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _projection(narrow: int, wide: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(narrow, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide))
