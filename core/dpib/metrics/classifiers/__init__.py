"""Classifiers of the utility protocol, by the names that tracks use. One file per architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from dpib.errors import UnknownName
from dpib.metrics.classifiers.residual import resnet, resnext
from dpib.metrics.classifiers.small_cnn import SmallCNN
from dpib.metrics.classifiers.wide_resnet import WideResNet

CLASSIFIERS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "small-cnn": SmallCNN,
        "resnet-110": partial(resnet, 110),
        "resnet-164": partial(resnet, 164),
        "wrn-40-4": partial(WideResNet, 40, 4, 0.3),
        "wrn-28-10": partial(WideResNet, 28, 10, 0.3),
        "resnext-29": partial(resnext, 29, 4),
        "resnext-28": partial(resnext, 28, 10),
    }
)
"""Name -> builder of ``(n_channels, n_classes)``; networks map float (B, C, H, W) in [-1, 1] to logits (B, K).

``wrn-40-4`` has depth 40, widening factor 4 and dropout 0.3; ``resnext-29`` has 8 groups of 64 channels and widening
factor 4, ``resnext-28`` 10 (Gong et al., DPImageBench, 2025, Appendix B.2.4).
"""


def build_classifier(name: str, n_channels: int, n_classes: int) -> nn.Module:
    """Return a freshly initialised classifier; draws its weights from the global CPU generator.

    Raises:
        UnknownName: if no classifier has this name.
    """
    if name not in CLASSIFIERS:
        raise UnknownName("classifier", name, CLASSIFIERS)
    return CLASSIFIERS[name](n_channels, n_classes)
