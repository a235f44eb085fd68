"""Public images take the task's shape and labels, a batch at a time."""

from __future__ import annotations

import pytest
import torch

from dpib.data import public
from dpib.data.images import LabelledImages, PublicDataset
from dpib.spec import TaskInfo

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


def images(shape: tuple[int, int, int], n: int = 10) -> PublicDataset:
    pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return PublicDataset(None, LabelledImages(pixels, torch.arange(n)))


def task(shape: tuple[int, int, int]) -> TaskInfo:
    return TaskInfo(dataset="toy", shape=shape, classes=("a", "b", "c"), nominal_size=100)


@pytest.mark.parametrize("theirs", [(1, 12, 12), (3, 12, 12), (3, 6, 6), GREY, COLOUR])
@pytest.mark.parametrize("ours", [GREY, COLOUR])
def test_images_are_fitted_a_batch_at_a_time(
    theirs: tuple[int, int, int], ours: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = images(theirs)
    whole = public.fit_to_task(given, task(ours), conditional=True)
    largest = 0

    def watched(change):
        def changed(some: torch.Tensor, *args, **kwargs) -> torch.Tensor:
            nonlocal largest
            largest = max(largest, len(some))
            return change(some, *args, **kwargs)

        return changed

    monkeypatch.setattr(public, "_BATCH", 4)
    monkeypatch.setattr(public, "resize", watched(public.resize))
    monkeypatch.setattr(public, "rgb_to_grayscale", watched(public.rgb_to_grayscale))
    parts = public.fit_to_task(given, task(ours), conditional=True)
    assert parts.data.images.shape == (10, *ours)
    assert torch.equal(parts.data.images, whole.data.images)
    assert largest <= 4
    if ours == theirs:
        assert parts.data.images.data_ptr() == given.data.images.data_ptr()


def test_labels_are_the_public_class_modulo_k_or_nothing() -> None:
    for conditional, expected in ((True, [0, 1, 2] * 3 + [0]), (False, [0] * 10)):
        fitted = public.fit_to_task(images(GREY), task(GREY), conditional=conditional)
        assert fitted.data.labels.tolist() == expected
        assert fitted.categories is not None and fitted.categories.tolist() == list(range(10))
