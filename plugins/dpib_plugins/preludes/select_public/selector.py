"""The classifier of public images that says what a sensitive image resembles."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from dpib.api import RunContext

Architecture = Literal["resnet-50", "resnet-8"]

_WIDTH = 16
_MOMENTUM = 0.9


def build_selector(architecture: Architecture, n_channels: int, n_categories: int) -> nn.Module:
    """Return a classifier of small images: float (B, C, H, W) in -1..1 to logits (B, n_categories).

    ``resnet-50`` is torchvision's with a 3x3 stem and no initial pooling; ``resnet-8`` has one block of 16, 32 and 64
    channels each, for CPUs.
    """
    if architecture == "resnet-8":
        return _resnet_8(n_channels, n_categories)
    network = ResNet(Bottleneck, [3, 4, 6, 3], num_classes=n_categories)
    network.conv1 = nn.Conv2d(n_channels, network.conv1.out_channels, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def _resnet_8(n_channels: int, n_categories: int) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(n_channels, _WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(_WIDTH),
        nn.ReLU(),
    ]
    for narrow, wide in ((_WIDTH, _WIDTH), (_WIDTH, 2 * _WIDTH), (2 * _WIDTH, 4 * _WIDTH)):
        stride = 1 if narrow == wide else 2
        shortcut = None
        if stride == 2:
            shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide))
        layers.append(BasicBlock(narrow, wide, stride, shortcut))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * _WIDTH, n_categories))


def to_input(images: Tensor) -> Tensor:
    """Return uint8 images as float in -1..1."""
    return images.float() / 127.5 - 1


def train_selector(
    selector: nn.Module,
    images: Tensor,
    categories: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    flip: bool,
    context: RunContext,
) -> None:
    """Train on public images by SGD with momentum on a cosine schedule; continues where it was stopped.

    Args:
        selector: on the context's device; left in evaluation mode.
        images: uint8 (N, C, H, W), public.
        categories: int64 (N,).
        steps: updates.
        batch_size: images per update, drawn with replacement.
        learning_rate: of the first step.
        weight_decay: of SGD.
        flip: mirror half of the images.
        context: keeps the state.
    """
    selector.train()
    sgd = torch.optim.SGD(selector.parameters(), learning_rate, momentum=_MOMENTUM, weight_decay=weight_decay)
    for step in context.steps("train selector", steps, {"selector": selector, "sgd": sgd}):
        sgd.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        generator = context.seeds.torch("train selector", step)
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        batch, targets = to_input(images[chosen].to(context.device)), categories[chosen].to(context.device)
        if flip:
            mirrored = (torch.rand(batch_size, generator=generator) < 0.5).to(context.device)
            batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        sgd.zero_grad()
        F.cross_entropy(selector(batch), targets).backward()
        sgd.step()
    selector.eval()
