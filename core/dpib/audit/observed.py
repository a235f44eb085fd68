"""Runs a method as an attacker watches it: the noisy answers are seen, and what they would be with the canary.

The attacker of differential privacy knows the base set, the canary, which base records entered a Poisson sample, and
every answer. By replaying a run on the base set with the recorded answers it learns what each query was without the
canary; by replaying it with the canary forced into every sample, what the canary adds. Neither looks at the exact
values of the run under attack.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpib.contribution import InstalledMethod
from dpib.data.images import LabelledImages
from dpib.privacy.events import Gaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.noise import SECRET_BYTES
from dpib.synthesizer import MethodConfig
from dpib.testing.replay import RecordingNoise, Release
from dpib.testing.tiny import TinyRun, run_tiny

Key = tuple[str, int]
_MEMORY = Path("/dev/shm")
"""Ledgers of thousands of runs are flushed to the disk line by line; in memory that takes no time."""


class AllAnswered(BaseException):
    """Stops a replay after the last answer; no method should catch it."""


class WatchedNoise(RecordingNoise):
    """Records, and may draw less noise than asked for.

    Args:
        secret: 32 bytes.
        factor: what the standard deviation of Gaussian noise is multiplied by: 1, or 0.5 to measure power.
        answers: of the run that is replayed.
        forced: put the last record into every Poisson sample.
    """

    def __init__(
        self,
        secret: bytes,
        factor: float = 1.0,
        answers: Mapping[Key, Release] | None = None,
        forced: bool = False,
    ) -> None:
        super().__init__(secret, answers)
        self._factor, self._forced = factor, forced
        self._remaining = None if answers is None else len(answers)

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Record and answer; see the class."""
        answer = super().add_gaussian(exact, std * self._factor, charge, step)
        self._stop_after_the_last()
        return answer

    def add_exponential(self, exact: Tensor, scale: float, charge: str) -> Tensor:
        """Record and answer; see the class."""
        answer = super().add_exponential(exact, scale, charge)
        self._stop_after_the_last()
        return answer

    def poisson_sample(self, n: int, sample_rate: float, charge: str, step: int) -> Tensor:
        """Draw; the first records of a larger set are drawn as those of the smaller one."""
        sample = super().poisson_sample(n, sample_rate, charge, step)
        if self._forced and (not len(sample) or int(sample[-1]) != n - 1):
            sample = torch.cat([sample, torch.tensor([n - 1])])
        return sample

    def _stop_after_the_last(self) -> None:
        if self._remaining is not None:
            self._remaining -= 1
            if self._remaining == 0:
                raise AllAnswered


@dataclass(frozen=True)
class Subject:
    """What is audited: a method, at which ε, with which settings, and how much of its noise it gets."""

    method: InstalledMethod
    epsilon: float
    settings: MethodConfig
    noise_factor: float = 1.0

    @property
    def code(self) -> str:
        """Where its class is: a name is anybody's choice, a control's too."""
        return self.method.method.implementation


@dataclass(frozen=True)
class Watched:
    """One run, and what its replays need."""

    subject: Subject
    run: TinyRun
    secret: bytes
    noise: WatchedNoise

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What the ledger was charged."""
        return self.run.ledger.charges


@contextmanager
def _scratch() -> Iterator[Path]:
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dpib-audit-", dir=place) as folder:
        yield Path(folder)


def _run(subject: Subject, data: LabelledImages, noise: WatchedNoise) -> TinyRun:
    with _scratch() as folder:
        return run_tiny(
            subject.method, data, epsilon=subject.epsilon, settings=subject.settings, noise=noise, folder=folder
        )


def watch(subject: Subject, data: LabelledImages) -> Watched:
    """Run once, with fresh entropy for the DP noise and for every global generator a method may use instead."""
    torch.seed()
    np.random.seed(None)  # noqa: NPY002  a method may draw from it
    random.seed()
    secret = os.urandom(SECRET_BYTES)
    noise = WatchedNoise(secret, subject.noise_factor)
    return Watched(subject, _run(subject, data, noise), secret, noise)


def _replayed(watched: Watched, data: LabelledImages, forced: bool) -> dict[Key, Release] | None:
    """Return the queries of a replay, or None if the method takes another course on this data."""
    subject = watched.subject
    answers = watched.noise.by_key
    noise = WatchedNoise(watched.secret, subject.noise_factor, answers, forced)
    try:
        _run(subject, data, noise)
    except AllAnswered:
        found = noise.by_key
        same = all([p.shape for p in answers[k].exact] == [p.shape for p in found[k].exact] for k in found)
        return found if same and found.keys() == answers.keys() else None
    except AssertionError:
        return None
    return None


def exact_queries(subject: Subject, data: LabelledImages, secret: bytes) -> list[Release]:
    """Return the queries of a run of the attacker's own on ``data``, before noise."""
    noise = WatchedNoise(secret)
    _run(subject, data, noise)
    return noise.releases


def flat(parts: tuple[Tensor, ...]) -> Tensor:
    """Return all parts of a release as one float64 vector."""
    return torch.cat([part.double().flatten() for part in parts])


@dataclass(frozen=True)
class Query:
    """One noisy query as the attacker sees it.

    Attributes:
        residual: answer minus what the query is without the canary.
        contribution: what the canary adds if it is in the sample.
        std: standard deviation of the noise *as charged*.
        sample_rate: probability that the canary is in the sample.
        reach: norm of the contribution over the charged sensitivity.
    """

    residual: Tensor
    contribution: Tensor
    std: float
    sample_rate: float
    reach: float

    @property
    def log_likelihood_ratio(self) -> float:
        """Log of how much likelier the answer is with the canary than without."""
        square = float(self.contribution.square().sum())
        shift = (float(self.residual @ self.contribution) - square / 2) / self.std**2
        if self.sample_rate >= 1:
            return shift
        return float(np.logaddexp(np.log1p(-self.sample_rate), np.log(self.sample_rate) + shift))


def queries(watched: Watched, base: LabelledImages, with_canary: LabelledImages) -> list[Query] | None:
    """Return the noisy queries of a run, or None if there is none, or replays do not ask the same.

    Args:
        watched: the run under attack, on either set.
        base: the data without the canary.
        with_canary: the same with the canary at its end.
    """
    charges = {charge.id: charge for charge in watched.charges if isinstance(charge.event, Gaussian)}
    answers = {k: release for k, release in watched.noise.by_key.items() if k[0] in charges}
    if not answers:
        return None
    without = _replayed(watched, base, forced=False)
    within = None if without is None else _replayed(watched, with_canary, forced=True)
    if without is None or within is None:
        return None
    found = []
    for key, release in answers.items():
        charge, exact = charges[key[0]], flat(without[key].exact)
        assert isinstance(charge.event, Gaussian)
        contribution = flat(within[key].exact) - exact
        std = charge.event.noise_multiplier * (charge.sensitivity or 1.0)
        reach = float(contribution.norm()) / (charge.sensitivity or 1.0)
        found.append(Query(flat(release.answer) - exact, contribution, std, charge.event.exposure.sample_rate, reach))
    return found
