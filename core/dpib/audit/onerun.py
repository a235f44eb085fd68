"""Auditing in few runs: hundreds of canaries, a coin for each, and guesses which were in (privacy 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpib.audit.canaries import base_set, joined, noise_images
from dpib.audit.observed import Subject, Watched, exact_queries, flat, watch
from dpib.data.images import LabelledImages
from dpib.privacy.events import SampledGaussian
from dpib.testing.tiny import TASK

GUESSED_SHARE = 0.2
"""Share of canaries that are guessed, half of them "in"; fixed beforehand."""


@dataclass(frozen=True)
class Guesses:
    """Coins of one run and how many guesses were right."""

    coins: int
    guesses: int
    correct: int


def guessed_each_way(coins: int) -> int:
    """Return how many of the coins of a run are guessed "in", and as many "out"."""
    return max(1, int(coins * GUESSED_SHARE / 2))


def guess(scores: NDArray[np.float64], coins: NDArray[np.bool_]) -> Guesses:
    """Guess "in" for the highest scores and "out" for the lowest, abstain between."""
    k = guessed_each_way(len(coins))
    order = np.argsort(scores)
    correct = int((~coins[order[:k]]).sum() + coins[order[-k:]].sum())
    return Guesses(len(coins), 2 * k, correct)


@dataclass(frozen=True)
class OneRunJob:
    """One run with many canaries, and what is needed to score them."""

    subject: Subject
    canaries: int
    runs: int = 1

    def work(self) -> Guesses:
        """Toss, run, score, guess."""
        base = base_set("empty-class")
        images = noise_images(self.canaries)
        labels = torch.arange(self.canaries) % TASK.n_classes
        coins = np.random.default_rng().integers(0, 2, self.canaries).astype(bool)
        chosen = torch.from_numpy(coins)
        watched = watch(self.subject, joined(base, LabelledImages(images[chosen], labels[chosen])))
        canaries = LabelledImages(images, labels)
        scores = self._of_query(watched, base, canaries)
        if scores is None:
            reference = watch(self.subject, base).run.released
            scores = _of_images(watched.run.released, reference, canaries)
        return guess(scores, coins)

    def _of_query(self, watched: Watched, base: LabelledImages, canaries: LabelledImages) -> NDArray[np.float64] | None:
        """Return the best linear guess of each coin from the answer of a method of one unsampled release, else None.

        To the score of a canary the others are noise, each of them ± half of its q(z). So what the base set does not
        explain is weighed by the covariance of that and of the noise that was charged, not by q(z) alone.

        Each q(z) takes one replay, so a method of many releases would take as many trainings as canaries.
        """
        charges = watched.charges
        once = len(watched.noise.releases) == 1 and len(charges) == 1
        if not (once and isinstance(charges[0].event, SampledGaussian) and charges[0].event.sample_rate == 1):
            return None
        variance = (charges[0].event.noise_multiplier * (charges[0].sensitivity or 1.0)) ** 2

        def query(data: LabelledImages) -> Tensor:
            return flat(exact_queries(self.subject, data, watched.secret)[0].exact)

        def only(i: int) -> LabelledImages:
            return LabelledImages(canaries.images[i : i + 1], canaries.labels[i : i + 1])

        nothing = query(only(len(canaries)))
        contributions = torch.stack([query(only(i)) - nothing for i in range(len(canaries))])
        residual = flat(watched.noise.releases[0].answer) - query(base) - contributions.sum(dim=0) / 2
        covariance = contributions @ contributions.T / 4 + variance * torch.eye(len(canaries))
        found: NDArray[np.float64] = torch.linalg.solve(covariance, contributions @ residual).numpy()
        return found


def _of_images(released: LabelledImages, reference: LabelledImages, canaries: LabelledImages) -> NDArray[np.float64]:
    """Return how far the mean image of each canary's class moved towards it, beyond a run without canaries."""

    def means(images: LabelledImages) -> Tensor:
        rows = images.images.flatten(1).double() / 255
        return torch.stack([rows[images.labels == label].mean(dim=0) for label in range(TASK.n_classes)])

    moved = (means(released) - means(reference))[canaries.labels]
    targets = canaries.images.flatten(1).double() / 255 - 0.5
    found: NDArray[np.float64] = (moved * targets).sum(dim=1).numpy()
    return found


def pooled(found: Sequence[Guesses]) -> Guesses:
    """Return the coins of several runs as one set."""
    return Guesses(sum(g.coins for g in found), sum(g.guesses for g in found), sum(g.correct for g in found))
