"""Labels of generated batches."""

from __future__ import annotations

import torch
from torch import Tensor


def in_turn(classes: Tensor, start: int, n: int) -> Tensor:
    """Return n labels that go round the classes, from place ``start`` of the round on.

    Batches that start where the one before ended visit all classes equally often, also where there are more classes
    than images in a batch.

    Args:
        classes: int64 (K,), the labels to go round.
        start: images before this batch.
        n: images of this batch.

    Returns:
        int64 (n,) on the device of ``classes``.
    """
    return classes[torch.arange(start, start + n, device=classes.device) % len(classes)]
