"""The copy test: exact copies, near copies, and whether neighbours lie in train beyond chance.

It compares with real images exactly and is not differentially private. Finding copies refutes a claim; finding none
says nothing about differential privacy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

from dpib.data.images import LabelledImages, Splits

NEAR_SHARE = 0.5
"""A near copy is nearer to a real image than this share of what separates real images from each other."""
NEAR_QUANTILE = 0.01
SIDE = 16
CHUNK = 512
CHUNK_BYTES = 1 << 28


@dataclass(frozen=True)
class Neighbours:
    """Nearest real images in train and held out, as many of the one as of the other.

    Attributes:
        in_train: share of the distinct nearest real images that are training images; 0.5 is chance.
        n_distinct: how many real images are nearest to a synthetic one.
        p_value: of ``in_train``, two-sided binomial.
        distance_train: median distance of a synthetic image to its nearest training image, in grey levels per
            pixel value.
        distance_held_out: the same to held-out images.
    """

    in_train: float
    n_distinct: int
    p_value: float
    distance_train: float
    distance_held_out: float


@dataclass(frozen=True)
class Copies:
    """What the copy test counted.

    Attributes:
        n_distinct: synthetic images, each kind counted once.
        exact: real images that the set repeats pixel by pixel, per side; images of one colour do not count.
        exact_or_near: real images that it repeats exactly or nearly, per side.
        neighbours: of the synthetic images among training and held-out images.
    """

    n_distinct: int
    exact: Mapping[str, int]
    exact_or_near: Mapping[str, int]
    neighbours: Neighbours


def copy_test(synthetic: LabelledImages, splits: Splits, *, test_is_exchangeable: bool) -> Copies:
    """Count distinct images and copies of real ones, and compare nearest neighbours in train and held out.

    Args:
        synthetic: uint8 images of the shape of the real ones.
        splits: the real images of the dataset.
        test_is_exchangeable: whether the test side was drawn from the same pool as the training side; a test side
            of another origin differs from it by nature, and only the validation side is held out.
    """
    rows = _rows(synthetic)
    unique = set(rows)
    varied = {row for row in unique if row.count(row[0]) != len(row)}
    sides = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    exact = {side: len(varied & set(_rows(data))) for side, data in sides.items()}
    reduced = {side: reduce(data.images) for side, data in sides.items()}
    queries = reduce(synthetic.images)
    gaps, _ = nearest(_drawn(reduced["test"], 2000, 0), reduced["train"])  # a stored order may go by class
    threshold = NEAR_SHARE * float(gaps.quantile(NEAR_QUANTILE))
    near = {}
    for side, points in reduced.items():
        distances, indices = nearest(queries, points)
        near[side] = max(exact[side], int(indices[distances < threshold].unique().numel()))
    held_out = reduced["validation"]
    if test_is_exchangeable:
        held_out = torch.cat([held_out, reduced["test"]])
    return Copies(len(unique), exact, near, neighbour_test(queries, reduced["train"], held_out))


def neighbour_test(queries: Tensor, train: Tensor, held_out: Tensor) -> Neighbours:
    """Compare how often, and how closely, train and held-out images are nearest to synthetic ones.

    Each real image counts once, however many synthetic images it is nearest to: images of one class have neighbours
    in common, which a binomial test over synthetic images would take for independent evidence. A tie goes to train.

    Args:
        queries: reduced synthetic images (N, D).
        train: reduced training images; as many are drawn as there are held-out ones, and the other way round.
        held_out: reduced images that are exchangeable with them.
    """
    size = min(len(held_out), len(train))
    to_train, which_train = nearest(queries, _drawn(train, size, 1))
    to_held_out, which_held_out = nearest(queries, _drawn(held_out, size, 2))
    nearer = to_train <= to_held_out
    in_train = int(which_train[nearer].unique().numel())
    n_distinct = in_train + int(which_held_out[~nearer].unique().numel())
    per_value = math.sqrt(queries.shape[1])
    return Neighbours(
        in_train=in_train / n_distinct,
        n_distinct=n_distinct,
        p_value=float(binomtest(in_train, n_distinct, 0.5).pvalue),
        distance_train=float(to_train.median()) / per_value,
        distance_held_out=float(to_held_out.median()) / per_value,
    )


def reduce(images: Tensor) -> Tensor:
    """Return float (N, D) rows, images averaged down to at most 16 pixels a side."""
    batches = []
    for batch in images.split(4096):
        small = batch.float()
        factor = math.ceil(max(batch.shape[-2:]) / SIDE)
        batches.append((F.avg_pool2d(small, factor, ceil_mode=True) if factor > 1 else small).flatten(1))
    return torch.cat(batches)


def nearest(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each query row the Euclidean distance to, and the index of, its nearest point."""
    step = max(1, min(CHUNK, CHUNK_BYTES // (4 * len(points))))
    found = [torch.cdist(chunk, points).min(dim=1) for chunk in queries.split(step)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def _rows(data: LabelledImages) -> list[bytes]:
    return [row.tobytes() for row in data.images.flatten(1).numpy()]


def _drawn(points: Tensor, size: int, seed: int) -> Tensor:
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:size]]
