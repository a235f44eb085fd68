"""Record and replay: what a method would have released without noise, on two datasets that differ in one record.

The strongest cheap test of sensitivity needs no statistics: run on D and note every value before noise; run on the
neighbour D' and answer every query as D was answered. Then both runs must ask the same queries, and what they ask may
differ by no more than was charged for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dpib.data.images import LabelledImages
from dpib.privacy.noise import NoiseSource

__all__ = ["RecordingNoise", "Release", "distances", "neighbours_differ_by"]

Key = tuple[str, int]
Run = Callable[[LabelledImages, NoiseSource], object]
"""Runs what is tested on a dataset, with all noise from the source."""


@dataclass(frozen=True)
class Release:
    """One release, before and after noise.

    Attributes:
        kind: distribution of the noise.
        charge: id of the charge it belongs to.
        step: its number within the charge.
        exact: values before noise, all parts.
        scale: standard deviation or mean of the noise.
        answer: values that were released.
    """

    kind: Literal["gaussian", "exponential"]
    charge: str
    step: int
    exact: tuple[Tensor, ...]
    scale: float
    answer: tuple[Tensor, ...]


class RecordingNoise(NoiseSource):
    """A noise source that takes note of everything it is given. For tests only: it keeps private values.

    Args:
        secret: 32 bytes.
        answers: releases of another run, by charge and step: returned instead of noisy values. A query that they do
            not answer fails the test.
        include: index of a record that enters every Poisson sample; the others enter as they do without it.
    """

    def __init__(self, secret: bytes, answers: Mapping[Key, Release] | None = None, include: int | None = None) -> None:
        super().__init__(secret)
        self._answers, self._include = answers, include
        self.releases: list[Release] = []
        self.samples: list[tuple[str, int, Tensor]] = []
        """Poisson samples drawn: charge, step, indices."""

    @property
    def by_key(self) -> dict[Key, Release]:
        """The releases by charge and step."""
        return {(release.charge, release.step): release for release in self.releases}

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Note ``exact`` and answer."""
        noisy = super().add_gaussian(exact, std, charge, step)
        return self._note("gaussian", exact, std, charge, step, noisy)

    def add_exponential(self, exact: Tensor, scale: float, charge: str) -> Tensor:
        """Note ``exact`` and answer."""
        return self._note("exponential", [exact], scale, charge, 0, [super().add_exponential(exact, scale, charge)])[0]

    def poisson_sample(self, n: int, sample_rate: float, charge: str, step: int) -> Tensor:
        """Note the sample and return it."""
        if self._include is None:
            sample = super().poisson_sample(n, sample_rate, charge, step)
        else:
            others = super().poisson_sample(n - 1, sample_rate, charge, step)
            sample = torch.cat([others + (others >= self._include), torch.tensor([self._include])]).sort().values
        self.samples.append((charge, step, sample))
        return sample

    def _note(
        self,
        kind: Literal["gaussian", "exponential"],
        exact: list[Tensor],
        scale: float,
        charge: str,
        step: int,
        noisy: list[Tensor],
    ) -> list[Tensor]:
        assert (charge, step) not in self.by_key, f"The noise of {charge}, release {step}, is used a second time."
        if self._answers is not None:
            earlier = self._answers.get((charge, step))
            assert earlier is not None, f"Only one of two neighbours makes release {step} of {charge}."
            noisy = [answer.clone() for answer in earlier.answer]
        copies = tuple(part.detach().clone() for part in exact)
        self.releases.append(Release(kind, charge, step, copies, scale, tuple(part.clone() for part in noisy)))
        return noisy


def distances(ours: list[Release], theirs: list[Release]) -> list[float]:
    """Return, release by release, how far the values before noise lie apart: L2 over all parts, max for exponential.

    Raises:
        AssertionError: if the two runs did not make the same releases, in order, shape, dtype and scale.
    """
    form, other = (
        [(r.kind, r.charge, r.step, r.scale, [(p.shape, p.dtype) for p in r.exact]) for r in run]
        for run in (ours, theirs)
    )
    assert form == other, f"Two neighbours took different courses: {form} and {other}."
    found = []
    for a, b in zip(ours, theirs, strict=True):
        gaps = [(x.double() - y.double()).flatten() for x, y in zip(a.exact, b.exact, strict=True)]
        gap = torch.cat([torch.zeros(1), *gaps])
        assert bool(torch.isfinite(gap).all()), f"Release {a.step} of {a.charge} is not finite before noise."
        found.append(float(gap.norm()) if a.kind == "gaussian" else float(gap.abs().max()))
    return found


def neighbours_differ_by(
    run: Run, data: LabelledImages, neighbour: LabelledImages, secret: bytes, extra: int | None = None
) -> list[float]:
    """Return ``distances`` between a run on ``data`` and one on ``neighbour`` that is answered alike.

    Args:
        run: what is tested.
        data: a dataset.
        neighbour: the same with one record more.
        secret: 32 bytes; fixes samples and answers.
        extra: where that record stands; it then enters every Poisson sample. By default *at the end*, and it enters by
            chance. Either way the samples agree on all others.
    """
    first = RecordingNoise(secret)
    run(data, first)
    second = RecordingNoise(secret, first.by_key, extra)
    run(neighbour, second)
    return distances(first.releases, second.releases)
