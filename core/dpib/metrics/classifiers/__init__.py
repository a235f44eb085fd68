"""Classifiers of the utility protocol, by the names that tracks use. One file per architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from dpib.errors import UnknownName
from dpib.metrics.classifiers.small_cnn import SmallCNN

CLASSIFIERS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType({"small-cnn": SmallCNN})
"""Name -> builder of ``(n_channels, n_classes)``; networks map float (B, C, H, W) in [-1, 1] to logits (B, K)."""


def build_classifier(name: str, n_channels: int, n_classes: int) -> nn.Module:
    """Return a freshly initialised classifier; draws its weights from the global CPU generator.

    Raises:
        UnknownName: if no classifier has this name.
    """
    if name not in CLASSIFIERS:
        raise UnknownName("classifier", name, CLASSIFIERS)
    return CLASSIFIERS[name](n_channels, n_classes)
