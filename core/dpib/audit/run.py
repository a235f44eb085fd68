"""One audit from start to report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpib.audit import controls as control
from dpib.audit import curves
from dpib.audit.bounds import one_run_epsilon, one_run_refutes
from dpib.audit.canaries import base_set
from dpib.audit.copying import UNPLANTED, Copies, CopyJob, near_p_value
from dpib.audit.games import Claim, Game, GameJob, Outcome, Worlds, jobs_of, play, power
from dpib.audit.observed import Subject, watch
from dpib.audit.onerun import Guesses, OneRunJob, guessed_each_way, pooled
from dpib.audit.profiles import Profile
from dpib.audit.report import (
    POWER_METHOD,
    AuditedMethod,
    AuditReport,
    ControlReport,
    CopyReport,
    GameReport,
    OneRunReport,
    now,
)
from dpib.contribution import InstalledMethod
from dpib.errors import ConfigError
from dpib.grids.base import Runner, RunnerSettings
from dpib.grids.local import LocalRunner
from dpib.machine import core_digest
from dpib.privacy import accountants
from dpib.privacy.accountants import AnyEvent, gaussian_epsilon
from dpib.privacy.events import Gaussian
from dpib.privacy.ledger import Charge
from dpib.progress import Reporter
from dpib.spec import delta_for
from dpib.testing.tiny import TASK, tiny_config
from dpib.verdicts import SUITE_VERSION

DELTA = delta_for(TASK.nominal_size)
_QUICK_RUNS = 100
"""Runs per world of the control dp-sgd-tiny, the slowest, in every profile."""


@dataclass(frozen=True)
class _Plan:
    """All jobs of an audit."""

    profile: Profile
    subject: Subject
    halved: Subject | None
    controls: Mapping[str, Subject]

    @property
    def games(self) -> list[Game]:
        return [Game(*names) for names in self.profile.games]  # type: ignore[arg-type]

    def jobs(self) -> list[Any]:
        games, runs = self.games, self.profile.runs
        jobs: list[Any] = [CopyJob(self.subject, 1) for _ in range(self.profile.copy_runs)]
        if games:
            jobs += jobs_of(self.subject, games, runs)
            jobs += jobs_of(self.halved, games[:1], runs) if self.halved else []
            for name, subject in self.controls.items():
                if name in control.STATISTICAL:
                    jobs += jobs_of(subject, games[:1], min(runs, _QUICK_RUNS) if name == "dp-sgd-tiny" else runs)
        jobs += [control.CheckJob(name) for name in control.BY_CHECK]
        for name in control.COPYING:
            jobs.append(CopyJob(self.controls[name], self.profile.copy_runs))
        n_runs, canaries = self.profile.one_run
        return jobs + [OneRunJob(self.subject, canaries) for _ in range(n_runs)]


def audit(
    method: InstalledMethod,
    profile: Profile,
    *,
    epsilon: float | None = None,
    runner: Runner | None = None,
    plugin: Path | None = None,
    reporter: Reporter | None = None,
) -> AuditReport:
    """Play the games of a profile with a method and with the controls, and say whether its claim stands.

    Args:
        method: from ``dpib.catalogue.method``.
        profile: from ``profiles.profile``.
        epsilon: the claim; None: the profile's. Large for games, so that few runs can refute it (privacy 8.3).
        runner: does the runs; None: this process.
        plugin: the file the method is from, if it is a single-file plugin.
        reporter: told how many runs are done.

    Raises:
        ConfigError: if the method claims no privacy, or the profile could not refute the claim whatever came out.
        UnsupportedMechanism: if what it charges has no curve to test against.
        DpibError: whatever a run raises.
    """
    began = time.monotonic()
    if not method.card.private:
        raise ConfigError(f"'{method.card.name}' claims no privacy: there is nothing to audit.")
    reporter, runner = reporter or Reporter(), runner or LocalRunner(RunnerSettings(jobs=1))
    epsilon = profile.epsilon if epsilon is None else epsilon
    known = control.load_controls()
    wanted = (*control.STATISTICAL, *control.COPYING) if profile.games else control.COPYING
    subjects = {name: Subject(known[name], epsilon, tiny_config(known[name], epsilon)) for name in wanted}
    subject = Subject(method, epsilon, tiny_config(method, epsilon))
    charges = watch(subject, base_set("empty-class")).charges
    claim = _claim(tuple(charge.event for charge in charges), epsilon, profile)
    _check_refutable(claim, profile)
    unmeasured = _no_half_noise(charges) if profile.games else "this profile plays no games"
    halved = None if unmeasured else Subject(method, epsilon, subject.settings, noise_factor=0.5)
    plan = _Plan(profile, subject, halved, subjects)
    todo = plan.jobs()
    with reporter.task(f"audit {method.card.name}", sum(job.runs for job in todo)) as task:
        found = runner.compute(todo, [plugin] if plugin else [], lambda job: task.advance(job.runs))
    done = list(zip(todo, found, strict=True))
    with reporter.task("weigh the evidence"):
        return _report(plan, claim, done, unmeasured, known, began)


def _claim(events: tuple[AnyEvent, ...], epsilon: float, profile: Profile) -> Claim:
    return Claim(events, curves.of_events(events), epsilon, DELTA, profile.level)


def _check_refutable(claim: Claim, profile: Profile) -> None:
    """Refuse coins that say nothing: with too few for the claim, it stands even if every guess is right."""
    runs, canaries = profile.one_run
    coins, guesses = runs * canaries, 2 * runs * guessed_each_way(canaries)
    if coins and not one_run_refutes(coins, guesses, guesses, claim.curve, claim.level):
        raise ConfigError(
            f"At ε = {claim.target_epsilon:g} the profile {profile.name} refutes nothing, even with all {guesses} "
            f"guesses of {coins} coins right. Choose a smaller --epsilon, e.g. {profile.epsilon:g}."
        )


def _no_half_noise(charges: Sequence[Charge]) -> str:
    """Return why the harness cannot halve a method's noise, or nothing."""
    if any(charge.assurance == "declared" for charge in charges):
        return "the method draws its own noise, which the harness cannot halve"
    if not charges or not all(isinstance(charge.event, Gaussian) for charge in charges):
        return "the method makes no Gaussian release, or others beside it"
    return ""


def _report(
    plan: _Plan,
    claim: Claim,
    done: Sequence[tuple[Any, Any]],
    unmeasured: str,
    known: Mapping[str, Any],
    began: float,
) -> AuditReport:
    subject, profile = plan.subject, plan.profile
    worlds = Worlds((job, found) for job, found in done if isinstance(job, GameJob))
    games = [_game(play(worlds, subject, game, claim), claim) for game in plan.games]
    copies = _copies(_of(done, CopyJob, subject), claim)
    one_run = _one_run(_of(done, OneRunJob, subject), claim) if profile.one_run[0] else None
    verdicts = [
        *_controls(plan, worlds, done, claim, known),
        *(found for job, found in done if isinstance(job, control.CheckJob)),
    ]
    ledgers = worlds.ledgers(subject) | {claim.events}
    wrong = [one for one in verdicts if one.as_expected is False]
    reasons = [f"the control {one.name} was judged wrongly ({one.detail})" for one in wrong]
    verdict = "void" if reasons else "not refuted"
    if not reasons:
        reasons = _refutations(games, copies, one_run, len(ledgers))
        verdict = "refuted" if reasons else verdict
    bounds = [max(game.epsilon_by_curve, game.epsilon_by_counts) for game in games]
    card = subject.method.card
    return AuditReport.from_plain(
        {
            "created": now(),
            "method": AuditedMethod(
                name=card.name,
                distribution=subject.method.distribution,
                version=subject.method.version,
                source_digest=subject.method.source_digest,
                config=subject.settings.model_dump(mode="json"),
            ).model_dump(mode="json"),
            "core_digest": core_digest(),
            "suite_version": SUITE_VERSION,
            "profile": profile.name,
            "target_epsilon": claim.target_epsilon,
            "delta": claim.delta,
            "events": [event.model_dump(mode="json") for event in claim.events],
            "claimed_epsilon": accountants.epsilon(claim.events, claim.delta),
            "level": claim.level,
            "games": [game.model_dump(mode="json") for game in games],
            "copies": copies.model_dump(mode="json"),
            "one_run": one_run.model_dump(mode="json") if one_run else None,
            "controls": [one.model_dump(mode="json") for one in verdicts],
            "verdict": verdict,
            "reasons": reasons,
            "epsilon_lb": max([0.0, *bounds, *([one_run.epsilon] if one_run else [])]),
            "power": None if unmeasured else power(worlds, subject, plan.games[0], claim),
            "power_method": f"Not measured: {unmeasured}." if unmeasured else POWER_METHOD,
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds_per_run": round(worlds.seconds_per_run(subject), 3) if games else None,
        }
    )


def _of(done: Sequence[tuple[Any, Any]], kind: type[CopyJob | OneRunJob], subject: Subject) -> list[Any]:
    return [found for job, found in done if isinstance(job, kind) and job.subject == subject]


def _game(found: Outcome, claim: Claim) -> GameReport:
    rates = found.rates
    return GameReport(
        base=found.game.base,
        canary=found.game.canary,
        detector=found.feature,
        n0=rates.n0,
        n1=rates.n1,
        false_positives=rates.false_positives,
        false_negatives=rates.false_negatives,
        a=rates.a,
        b=rates.b,
        claimed=found.claimed,
        epsilon_by_curve=curves.epsilon_at(rates.a, rates.b, claim.events, claim.delta),
        epsilon_by_counts=found.epsilon_by_counts,
        refuted=found.refuted,
        reach=found.reach,
    )


def _copies(parts: Sequence[list[Copies]], claim: Claim) -> CopyReport:
    found = [one for part in parts for one in part]
    exact, p_value = sum(one.exact for one in found), near_p_value(found, claim.curve)
    return CopyReport(
        runs=len(found),
        exact=exact,
        ranks=tuple(one.rank for one in found),
        unplanted=UNPLANTED,
        p_value=p_value,
        refuted=exact > 0 or p_value < claim.level,
    )


def _one_run(parts: Sequence[Guesses], claim: Claim) -> OneRunReport:
    total = pooled(parts)
    numbers = (total.coins, total.guesses, total.correct)
    by_theorem = one_run_epsilon(*numbers, claim.delta, claim.level)
    low, high = 0.0, 20.0  # of μ: the Gaussian curve that the guesses refute
    while high - low > 1e-3:
        middle = (low + high) / 2
        refuted = one_run_refutes(*numbers, partial(curves.gaussian_rate, mu=middle), claim.level)
        low, high = (middle, high) if refuted else (low, middle)
    return OneRunReport(
        runs=len(parts),
        coins=total.coins,
        guesses=total.guesses,
        correct=total.correct,
        epsilon=by_theorem,
        epsilon_by_curve=gaussian_epsilon(low, claim.delta) if low > 0 else 0.0,
        refuted=by_theorem > claim.target_epsilon or one_run_refutes(*numbers, claim.curve, claim.level),
    )


def _controls(
    plan: _Plan, worlds: Worlds, done: Sequence[tuple[Any, Any]], claim: Claim, known: Mapping[str, Any]
) -> list[ControlReport]:
    found = []
    for name, subject in plan.controls.items():
        must = known[name].must
        if name in control.COPYING:
            copies = _copies(_of(done, CopyJob, subject), claim)
            detail = f"{copies.exact} exact copies in {copies.runs} runs"
            found.append(control.judged(name, must, "copy test", copies.refuted, detail))
        elif name != "half-noise" or plan.profile.detects_half_noise:
            (events,) = worlds.ledgers(subject)
            own = Claim(events, curves.of_events(events), claim.target_epsilon, claim.delta, claim.level)
            game = play(worlds, subject, plan.games[0], own)
            detail = f"b = {game.rates.b:.3g} where the claim allows {game.claimed:.3g}"
            found.append(control.judged(name, must, "game", game.refuted, detail))
    return found


def _refutations(
    games: Sequence[GameReport], copies: CopyReport, one_run: OneRunReport | None, n_ledgers: int
) -> list[str]:
    reasons = [
        f"{g.canary} in {g.base}: false-negative rate at most {g.b:.3g} at a false-positive rate of at "
        f"most {g.a:.3g}, where the ledger allows no less than {g.claimed:.3g} (ε_lb = "
        f"{max(g.epsilon_by_curve, g.epsilon_by_counts):.2f})"
        for g in games
        if g.refuted
    ]
    if copies.refuted:
        reasons.append(f"copies: {copies.exact} exact, near ones with p = {copies.p_value:.2g}")
    if one_run is not None and one_run.refuted:
        reasons.append(f"one run: {one_run.correct} of {one_run.guesses} guesses right")
    if n_ledgers > 1:
        reasons.append("the ledger differs between runs, so what is charged depends on the data")
    return reasons
