"""Numbers that may tell the two worlds apart, computed from one run (privacy 8.1)."""

from __future__ import annotations

import math

import torch

from dpib.audit.observed import Query
from dpib.data.images import LabelledImages

BLACK_BOX = (
    "class mean on the canary",
    "class mean on the canary's contrast",
    "overall mean on the canary's contrast",
    "nearest of its class",
    "nearest of all",
    "images near it",
    "class brightness",
    "class pixel variance",
    "dark pixels of the class",
    "margin of a nearest-mean classifier",
)
GREY_BOX = ("likelihood ratio of the noisy queries",)
FEATURES = (*BLACK_BOX, *GREY_BOX)
_NEAR = 0.15
"""Root mean square difference of pixels in 0..1 within which an image counts as near."""
_DARK = 0.02


def black_box(released: LabelledImages, canary: LabelledImages) -> list[float]:
    """Return the features of ``BLACK_BOX`` of a release, in order; from its images and labels alone."""
    images = released.images.flatten(1).double() / 255
    target, label = canary.images[0].flatten().double() / 255, int(canary.labels[0])
    contrast = target - target.mean()
    contrast = contrast / contrast.norm().clamp(min=1e-9)
    of_class = images[released.labels == label]
    mean = of_class.mean(dim=0)
    distances, in_class = (images - target).norm(dim=1), (of_class - target).norm(dim=1)
    others = [
        float((images[released.labels == other].mean(dim=0) - target).square().sum())
        for other in released.labels.unique().tolist()
        if other != label
    ]
    return [
        float(mean @ target) / float(target.norm().clamp(min=1e-9)),
        float(mean @ contrast),
        float(images.mean(dim=0) @ contrast),
        -float(in_class.min()),
        -float(distances.min()),
        float((distances < _NEAR * math.sqrt(len(target))).sum()),
        float(mean.mean()),
        float(of_class.var(dim=0).mean()),
        float((of_class < _DARK).double().mean()),
        min(others) - float((mean - target).square().sum()),
    ]


def grey_box(queries: list[Query] | None) -> list[float]:
    """Return the features of ``GREY_BOX``, NaN where no queries were seen."""
    if queries is None:
        return [math.nan]
    return [math.fsum(query.log_likelihood_ratio for query in queries)]


def reach(queries: list[Query] | None) -> float | None:
    """Return how much of the charged sensitivity the canary used, averaged over queries."""
    return None if queries is None else float(torch.tensor([query.reach for query in queries]).mean())
