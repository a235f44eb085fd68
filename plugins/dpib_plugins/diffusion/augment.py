"""Random changes of images that are few: RandAugment with random magnitudes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

_OPERATIONS = 2
_AUGMENT = [v2.RandAugment(num_ops=_OPERATIONS, magnitude=magnitude) for magnitude in range(1, 10)]


def changed_at_random(images: Tensor) -> Tensor:
    """Return images uint8 (B, C, H, W), each after two random operations of RandAugment at a random magnitude 1..9.

    Draws from torch's global generator.

    Source:
        Cubuk et al., RandAugment (2020); Li et al. (2025), section 4.2.
    """
    magnitudes = torch.randint(len(_AUGMENT), (len(images),)).tolist()
    return torch.stack([_AUGMENT[magnitude](image) for magnitude, image in zip(magnitudes, images, strict=True)])
