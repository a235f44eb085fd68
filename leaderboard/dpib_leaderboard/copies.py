"""The copy test (``privacy.md`` 8.5): exact copies, near copies, and whether neighbours lie in train beyond chance.

It can only refuse. Passing it says nothing about differential privacy and earns no badge.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

from dpib.data.images import LabelledImages, Splits
from dpib.spec import DatasetSpec, HubSource
from dpib_leaderboard import limits
from dpib_leaderboard.reviews import Check, Diversity

SIGNIFICANCE = 1e-4
"""Of the two-sided neighbour test; an honest set is refused once in ten thousand submissions."""
NEAR_SHARE = 0.5
"""A near copy is nearer to a real image than this share of what separates real images from each other."""
NEAR_QUANTILE = 0.01
MOST_NEAR = 2
"""So many near copies may be chance; one more is refused."""
_SIDE = 16
_CHUNK = 512


def _rows(data: LabelledImages) -> list[bytes]:
    return [row.tobytes() for row in data.images.flatten(1).numpy()]


def _reduced(images: Tensor) -> Tensor:
    """Return float (N, D) rows, images averaged down to at most 16 pixels a side."""
    batches = []
    for batch in images.split(4096):
        small = batch.float()
        factor = math.ceil(max(batch.shape[-2:]) / _SIDE)
        batches.append((F.avg_pool2d(small, factor, ceil_mode=True) if factor > 1 else small).flatten(1))
    return torch.cat(batches)


def nearest(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each query row the Euclidean distance to, and the index of, its nearest point."""
    found = [torch.cdist(chunk, points).min(dim=1) for chunk in queries.split(_CHUNK)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def diversity_checks(synthetic: LabelledImages, splits: Splits, card: DatasetSpec) -> tuple[list[Check], Diversity]:
    """Count distinct images and copies of real ones.

    Args:
        synthetic: what was submitted.
        splits: the real images of the dataset.
        card: says which sides come from one pool and are exchangeable.
    """
    rows = _rows(synthetic)
    unique = set(rows)
    share = len(unique) / len(rows)
    varied = {row for row in unique if row.count(row[0]) != len(row)}
    sides = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    exact = {side: len(varied & set(_rows(data))) for side, data in sides.items()}
    reduced = {side: _reduced(data.images) for side, data in sides.items()}
    queries = _reduced(synthetic.images)
    gaps, _ = nearest(reduced["test"][:2000], reduced["train"])
    threshold = NEAR_SHARE * float(gaps.quantile(NEAR_QUANTILE))
    near = {}
    for side, points in reduced.items():
        distances, indices = nearest(queries, points)
        near[side] = max(exact[side], int(indices[distances < threshold].unique().numel()))
    in_train, distinct, p_value = neighbour_test(queries, reduced, card)
    diversity = Diversity(
        unique_images=len(unique),
        unique_share=share,
        copies=near,
        neighbours_in_train=in_train,
        p_value=p_value,
    )
    copied = {side: (exact[side], near[side]) for side in sides}
    detail = ", ".join(f"{side}: {e} exact, {n} exact or near" for side, (e, n) in copied.items())
    checks = [
        Check(
            name="distinct images",
            holds=share >= limits.UNIQUE_SHARE,
            detail=f"{len(unique)} of {len(rows)} differ, at least {limits.UNIQUE_SHARE:.0%} must",
        ),
        Check(
            name="no copies of real images",
            holds=not any(exact.values()) and max(near.values()) <= MOST_NEAR,
            detail=detail,
        ),
        Check(
            name="neighbours by chance",
            holds=p_value >= SIGNIFICANCE,
            detail=f"{in_train:.1%} of {distinct} nearest real images are training images, 50% is chance, "
            f"p = {p_value:.2g} (refused below {SIGNIFICANCE:g})",
        ),
    ]
    return checks, diversity


def neighbour_test(queries: Tensor, sides: dict[str, Tensor], card: DatasetSpec) -> tuple[float, int, float]:
    """Compare how often train and held-out images are nearest to a synthetic one, sides equalised.

    Each real image counts once, however many synthetic images it is nearest to: images of one class have neighbours
    in common, which a binomial test over synthetic images would take for independent evidence. Held out is what was
    drawn from the same pool as the training side; a test side of another origin differs from it by nature.

    Returns:
        The share in train, the number of distinct neighbours, and the two-sided binomial p-value.
    """
    pooled = not isinstance(card.source, HubSource) or "test" not in card.source.splits
    held_out = torch.cat([sides["validation"], sides["test"]]) if pooled else sides["validation"]
    size = min(len(held_out), len(sides["train"]))
    train = _drawn(sides["train"], size, 1)
    _, indices = nearest(queries, torch.cat([train, _drawn(held_out, size, 2)]))
    distinct = indices.unique()
    in_train = int((distinct < size).sum())
    test = binomtest(in_train, int(distinct.numel()), 0.5)
    return in_train / int(distinct.numel()), int(distinct.numel()), float(test.pvalue)


def _drawn(points: Tensor, size: int, seed: int) -> Tensor:
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:size]]
