"""Public images made to fit a task: its size, its channels, its labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize, rgb_to_grayscale

from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import ConfigError
from dpib.spec import TaskInfo

_BATCH = 1000
"""Images fitted at a time."""


def fit_to_task(public: PublicDataset, task: TaskInfo, *, conditional: bool) -> PublicDataset:
    """Return public images in the task's shape with labels in its range.

    Grey images are repeated to three channels, colour ones turned grey (ITU-R 601), then resized with antialiasing.
    Labels: if ``conditional`` the public class modulo the number of private classes, else 0. The
    public classes themselves are kept as ``categories``. Memory beyond the result is one batch; images that have the
    shape are not copied.
    """
    images = public.data.images
    if images.shape[1:] != task.shape:
        fitted = torch.empty((len(images), *task.shape), dtype=torch.uint8)
        for part, place in zip(images.split(_BATCH), fitted.split(_BATCH), strict=True):
            place.copy_(_fitted(part, task.shape))
        images = fitted
    labels = public.data.labels % task.n_classes if conditional else torch.zeros_like(public.data.labels)
    return PublicDataset(public.spec, LabelledImages(images, labels), public.data.labels)


def _fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    if images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    elif images.shape[1] == 3 and channels == 1:
        images = rgb_to_grayscale(images)
    if images.shape[2:] != (height, width):
        images = resize(images, [height, width], antialias=True)
    return images


def classes_per_label(n_categories: int, n_classes: int, share: float) -> int:
    """Return k, the public classes that each of K private ones takes when a share of all public classes is taken.

    Each takes at least one, so that the share is larger where it holds fewer classes than K: 5 % of ImageNet's 1,000
    classes are 5 for each of 10 classes, and 1 for each of 100, which is 10 %.

    Raises:
        ConfigError: if there are fewer public classes than private ones.
    """
    if n_categories < n_classes:
        raise ConfigError(
            f"{n_categories} public classes cannot be shared out among {n_classes}: each needs one of its own."
        )
    return max(1, math.floor(share * n_categories / n_classes + 1e-9))


def draw_share(
    public: PublicDataset,
    n_classes: int,
    share: float,
    generator: torch.Generator,
    selected: PublicDataset | None = None,
) -> PublicDataset:
    """Return the images of public classes drawn at random, added to those of selected ones if there are some.

    Classes are drawn, not images, as many as a selection takes: then random and selected images differ in *which*
    classes they show, and in nothing else. A drawn class has its number modulo K as its label, a selected one the
    private class it was selected for.

    Args:
        public: all public images.
        n_classes: K.
        share: of the public classes.
        generator: public randomness.
        selected: images of selected classes; what is drawn comes from the others.

    Raises:
        ConfigError: if too few classes are left to draw from.
    """
    _, n_categories = public.card_classes()
    count = n_classes * classes_per_label(n_categories, n_classes, share)
    label_of: dict[int, int] = {}
    if selected is not None:
        taken, _ = selected.card_classes()
        label_of.update(zip(taken.tolist(), selected.data.labels.tolist(), strict=True))
    free = [
        category for category in torch.randperm(n_categories, generator=generator).tolist() if category not in label_of
    ]
    if len(free) < count:
        raise ConfigError(f"Of {n_categories} public classes {len(free)} are left; {count} were to be drawn.")
    label_of.update({category: category % n_classes for category in free[:count]})
    return public.relabelled(label_of)
