"""The game: with the canary or without, many runs of each, told apart by what comes out (privacy 8.1, 8.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dpib.audit import curves, scores
from dpib.audit.canaries import Base, Canary, base_set, canary, joined
from dpib.audit.detector import Rates, Scores, halves, rates, share_refuted, tune
from dpib.audit.observed import Subject, queries, watch
from dpib.privacy.accountants import AnyEvent

_RUNS_PER_JOB = 10
_REPETITIONS = 100


@dataclass(frozen=True)
class Game:
    """A base set and the canary that is added to it in world 1."""

    base: Base
    canary: Canary


@dataclass
class GameRuns:
    """What some runs of one world gave.

    Attributes:
        scores: per canary that was looked for, (runs, features); see ``scores.FEATURES``.
        reach: per canary, the mean share of the sensitivity it used, run by run.
        ledgers: the different lists of events that were charged.
        seconds: processor time.
    """

    scores: dict[Canary, Scores] = field(default_factory=dict)
    reach: dict[Canary, list[float]] = field(default_factory=dict)
    ledgers: set[tuple[AnyEvent, ...]] = field(default_factory=set)
    seconds: float = 0.0

    def add(self, other: GameRuns) -> None:
        """Append the runs of another job of the same world."""
        for name, rows in other.scores.items():
            known = self.scores.get(name)
            self.scores[name] = rows if known is None else np.concatenate([known, rows])
        for name, values in other.reach.items():
            self.reach.setdefault(name, []).extend(values)
        self.ledgers |= other.ledgers
        self.seconds += other.seconds


@dataclass(frozen=True)
class GameJob:
    """Some runs of one world.

    Attributes:
        planted: the canary in the data; None in world 0.
        sought: canaries to compute scores for.
    """

    subject: Subject
    base: Base
    planted: Canary | None
    sought: tuple[Canary, ...]
    runs: int

    @property
    def world(self) -> tuple[str, float, Base, Canary | None]:
        """What its runs have in common."""
        return self.subject.code, self.subject.noise_factor, self.base, self.planted

    def work(self) -> GameRuns:
        """Run, and look for each canary."""
        began = time.process_time()
        base = base_set(self.base)
        data = base if self.planted is None else joined(base, canary(self.planted))
        rows: dict[Canary, list[list[float]]] = {name: [] for name in self.sought}
        found = GameRuns()
        for _ in range(self.runs):
            watched = watch(self.subject, data)
            found.ledgers.add(tuple(charge.event for charge in watched.charges))
            for name in self.sought:
                z = canary(name)
                asked = queries(watched, base, joined(base, z))
                rows[name].append(scores.black_box(watched.run.released, z) + scores.grey_box(asked))
                used = scores.reach(asked)
                found.reach.setdefault(name, []).extend([] if used is None else [used])
        found.scores = {name: np.asarray(values, dtype=np.float64) for name, values in rows.items()}
        found.seconds = time.process_time() - began
        return found


def jobs_of(subject: Subject, games: Sequence[Game], runs: int) -> list[GameJob]:
    """Return the runs that ``games`` need; games on one base set share its world 0."""
    sought: dict[Base, list[Canary]] = {}
    for game in games:
        sought.setdefault(game.base, []).append(game.canary)
    worlds: list[tuple[Base, Canary | None, tuple[Canary, ...]]]
    worlds = [(base, None, tuple(names)) for base, names in sought.items()]
    worlds += [(game.base, game.canary, (game.canary,)) for game in games]
    portions = [_RUNS_PER_JOB] * (runs // _RUNS_PER_JOB) + ([runs % _RUNS_PER_JOB] if runs % _RUNS_PER_JOB else [])
    return [GameJob(subject, base, planted, names, n) for base, planted, names in worlds for n in portions]


class Worlds:
    """All runs of an audit, by world."""

    def __init__(self, done: Iterable[tuple[GameJob, GameRuns]]) -> None:
        self._runs: dict[tuple[str, float, Base, Canary | None], GameRuns] = {}
        for job, found in done:
            self._runs.setdefault(job.world, GameRuns()).add(found)

    def ledgers(self, subject: Subject) -> set[tuple[AnyEvent, ...]]:
        """Return the different ledgers of a subject's runs."""
        return set().union(*(runs.ledgers for world, runs in self._runs.items() if world[0] == subject.code))

    def seconds_per_run(self, subject: Subject) -> float:
        """Return the mean processor time of a run with its replays."""
        mine = [runs for world, runs in self._runs.items() if world[0] == subject.code]
        n = sum(len(next(iter(runs.scores.values()))) for runs in mine)
        return sum(runs.seconds for runs in mine) / n

    def of(self, subject: Subject, game: Game) -> tuple[Scores, Scores, tuple[str, ...], float | None]:
        """Return scores in world 0 and 1, the names of the features that were seen in all runs, and the reach."""
        pair = [self._runs[subject.code, subject.noise_factor, game.base, planted] for planted in (None, game.canary)]
        both = [runs.scores[game.canary] for runs in pair]
        seen = np.asarray(~np.isnan(np.concatenate(both)).any(axis=0))
        names = tuple(name for name, there in zip(scores.FEATURES, seen.tolist(), strict=True) if there)
        used = pair[0].reach.get(game.canary, []) + pair[1].reach.get(game.canary, [])
        return both[0][:, seen], both[1][:, seen], names, float(np.mean(used)) if used else None


@dataclass(frozen=True)
class Outcome:
    """What a game showed.

    Attributes:
        claimed: false-negative rate that the claim leaves at false-positive rate ``rates.a``.
        epsilon_by_counts: the (ε, δ) bound, free of any assumption on the mechanism.
    """

    game: Game
    feature: str
    rates: Rates
    claimed: float
    epsilon_by_counts: float
    refuted: bool
    reach: float | None


@dataclass(frozen=True)
class Claim:
    """What the runs are tested against, and how strictly."""

    events: tuple[AnyEvent, ...]
    curve: Callable[[float], float]
    target_epsilon: float
    delta: float
    level: float


def play(worlds: Worlds, subject: Subject, game: Game, claim: Claim) -> Outcome:
    """Choose a detector on one half of the runs and test the claim on the other."""
    without, within, names, used = worlds.of(subject, game)
    (tune0, test0), (tune1, test1) = halves(without), halves(within)
    detector = tune(tune0, tune1, claim.level, names)
    found = rates(detector, test0, test1, claim.level)
    by_counts = curves.epsilon_of_rates(found.a, found.b, claim.delta)
    allowed = claim.curve(found.a)
    refuted = found.b < allowed or by_counts > claim.target_epsilon
    return Outcome(game, detector.name, found, allowed, by_counts, refuted, used)


def power(worlds: Worlds, subject: Subject, game: Game, claim: Claim) -> float:
    """Return how often this one game refutes the claim if the harness draws half the noise the ledger says.

    A lower bound on the power of an audit of several games at the same level. See ``detector.share_refuted``.
    """
    halved = replace(subject, noise_factor=0.5)
    without, within, names, _ = worlds.of(halved, game)
    generator = np.random.default_rng()
    return share_refuted(without, within, names, claim.curve, claim.level, _REPETITIONS, generator)
