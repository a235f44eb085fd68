"""Public images made to fit a task: its size, its channels, its labels."""

from __future__ import annotations

import torch
from torchvision.transforms.v2.functional import resize, rgb_to_grayscale

from dpib.data.images import LabelledImages, PublicDataset
from dpib.spec import TaskInfo


def fit_to_task(public: PublicDataset, task: TaskInfo, *, conditional: bool) -> PublicDataset:
    """Return public images in the task's shape with labels in its range.

    Grey images are repeated to three channels, colour ones turned grey (ITU-R 601), then resized with antialiasing.
    Labels: if ``conditional`` the public class modulo the number of private classes, else 0 (decisions B18).
    """
    channels, height, width = task.shape
    images = public.data.images
    if images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    elif images.shape[1] == 3 and channels == 1:
        images = rgb_to_grayscale(images)
    if images.shape[2:] != (height, width):
        images = torch.cat([resize(part, [height, width], antialias=True) for part in images.split(1000)])
    labels = public.data.labels % task.n_classes if conditional else torch.zeros_like(public.data.labels)
    return PublicDataset(public.spec, LabelledImages(images.contiguous(), labels))
