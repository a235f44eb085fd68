"""The copy test: records of pure noise, and whether one of them, or something too near to one, comes out (privacy 8.5).

An image of 64 random bytes is met by chance with probability 2⁻⁵¹². One exact hit refutes any claim of privacy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from dpib.audit.canaries import LAST_CLASS, base_set, joined, noise_images, record
from dpib.audit.observed import Subject, watch
from dpib.data.images import LabelledImages

UNPLANTED = 100_000
NEAR = 1e-4
"""A planted canary is near if at most this share of unplanted ones is as near to the release."""


@dataclass(frozen=True)
class Copies:
    """What one run copied.

    Attributes:
        exact: released images that are records of the data, byte for byte.
        rank: of the planted canary's distance to the nearest released image, among ``UNPLANTED`` others; 1 is nearest.
    """

    exact: int
    rank: int

    @property
    def p_value(self) -> float:
        """Probability of such a rank if the canary were not in the data."""
        return self.rank / (UNPLANTED + 1)


def exact_copies(released: LabelledImages, data: LabelledImages) -> int:
    """Return how many released images are records of ``data``, whatever their labels."""
    known = {row.tobytes() for row in data.images.flatten(1).numpy()}
    return sum(row.tobytes() in known for row in released.images.flatten(1).numpy())


def nearest_distance(points: Tensor, released: Tensor) -> Tensor:
    """Return the distance of each of ``points`` (N, P) to the nearest row of ``released`` (M, P)."""
    return torch.cat([torch.cdist(part, released).min(dim=1).values for part in points.split(10_000)])


@dataclass(frozen=True)
class CopyJob:
    """Some runs on data of noise; fresh noise in each."""

    subject: Subject
    runs: int

    def work(self) -> list[Copies]:
        """Run, and look for records in the release."""
        return [self._once() for _ in range(self.runs)]

    def _once(self) -> Copies:
        labels = base_set("empty-class").labels
        planted = noise_images(1)
        data = joined(LabelledImages(noise_images(len(labels)), labels), record(planted[0], LAST_CLASS))
        released = watch(self.subject, data).run.released
        rows = released.images.flatten(1).float()
        mine = nearest_distance(planted.flatten(1).float(), rows)
        others = nearest_distance(noise_images(UNPLANTED).flatten(1).float(), rows)
        return Copies(exact_copies(released, data), 1 + int((others <= mine).sum()))


def near_p_value(found: Sequence[Copies], curve: Callable[[float], float]) -> float:
    """Return the probability of so many near canaries under the claim.

    Without the canary in the data a rank is uniform, so P[p <= t] <= t; with it the claim allows up to 1 - f(t).
    """
    near = sum(one.p_value <= NEAR for one in found)
    return float(binom.sf(near - 1, len(found), 1 - curve(NEAR)))
