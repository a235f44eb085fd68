"""What the copy test (``dpib.metrics.copies``) means for a submission.

It can only refuse. Passing it says nothing about differential privacy and earns no badge.
"""

from __future__ import annotations

from dpib.data.images import LabelledImages, Splits
from dpib.dataset_spec import DatasetSpec, HubSource
from dpib.metrics.copies import copy_test
from dpib_leaderboard import limits
from dpib_leaderboard.reviews import Check, Diversity

SIGNIFICANCE = 1e-4
"""Of the two-sided neighbour test; an honest set is refused once in ten thousand submissions."""
MOST_NEAR = 2
"""So many near copies may be chance; one more is refused."""


def diversity_checks(synthetic: LabelledImages, splits: Splits, card: DatasetSpec) -> tuple[list[Check], Diversity]:
    """Count distinct images and copies of real ones.

    Args:
        synthetic: what was submitted.
        splits: the real images of the dataset.
        card: says which sides come from one pool and are exchangeable.
    """
    pooled = not isinstance(card.source, HubSource) or "test" not in card.source.splits
    found = copy_test(synthetic, splits, test_is_exchangeable=pooled)
    neighbours, share = found.neighbours, found.n_distinct / len(synthetic)
    diversity = Diversity(
        unique_images=found.n_distinct,
        unique_share=share,
        copies=dict(found.exact_or_near),
        neighbours_in_train=neighbours.in_train,
        p_value=neighbours.p_value,
    )
    counts = [f"{side}: {n} exact, {found.exact_or_near[side]} exact or near" for side, n in found.exact.items()]
    checks = [
        Check(
            name="distinct images",
            holds=share >= limits.UNIQUE_SHARE,
            detail=f"{found.n_distinct} of {len(synthetic)} differ, at least {limits.UNIQUE_SHARE:.0%} must",
        ),
        Check(
            name="no copies of real images",
            holds=not any(found.exact.values()) and max(found.exact_or_near.values()) <= MOST_NEAR,
            detail=", ".join(counts),
        ),
        Check(
            name="neighbours by chance",
            holds=neighbours.p_value >= SIGNIFICANCE,
            detail=f"{neighbours.in_train:.1%} of {neighbours.n_distinct} nearest real images are training images, "
            f"50% is chance, p = {neighbours.p_value:.2g} (refused below {SIGNIFICANCE:g})",
        ),
    ]
    return checks, diversity
