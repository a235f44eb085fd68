"""A small public set for digits: the digits themselves in other polarity, split into many classes by their pixels."""

from __future__ import annotations

import torch

from dpib.data.images import LabelledImages, PublicDataset
from dpib.dataset_spec import BundledSource, DatasetSpec, SplitRule

N_CATEGORIES = 40


def public_card(n_categories: int = N_CATEGORIES, n: int = 400) -> DatasetSpec:
    """Return a card of 8x8 public images."""
    return DatasetSpec(
        name="strokes",
        title="Strokes",
        role="public",
        source=BundledSource(),
        shape=(1, 8, 8),
        classes=tuple(f"stroke {number}" for number in range(n_categories)),
        split=SplitRule(kind="all-train", n_pool=n, sizes={"train": n}),
        fingerprints={},
        licence="Apache-2.0",
        citation="",
        homepage="",
    )


def public_images(n_categories: int = N_CATEGORIES, n: int = 400, n_classes: int = 10) -> PublicDataset:
    """Return patterns, one per public class, with noise; labels are the public class modulo K."""
    generator = torch.Generator().manual_seed(5)
    patterns = torch.rand(n_categories, 1, 8, 8, generator=generator).round() * 200 + 20
    categories = torch.arange(n) % n_categories
    noise = 10 * torch.randn(n, 1, 8, 8, generator=generator)
    images = (patterns[categories] + noise).clamp(0, 255).to(torch.uint8)
    return PublicDataset(public_card(n_categories, n), LabelledImages(images, categories % n_classes), categories)
