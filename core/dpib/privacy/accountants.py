"""ε of a list of events, by PLD (the platform's number) and RDP (the second opinion). ``pricing`` has the sums done."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Literal

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from dpib.errors import BudgetExceeded, UnsupportedMechanism
from dpib.privacy.events import AnyEvent, Gaussian, NonPrivate, PureDp, SampledGaussian
from dpib.spec import Relation

AccountantName = Literal["pld", "rdp"]

_CALIBRATION_TOLERANCE = 1e-4
"""Width of the calibrated noise multiplier's interval, relative to its size; the safe side is returned."""
_NOTHING_LEFT = 5e-4
"""Share of the budget that may stay behind a calibrated access; a second such access would drown in noise."""
_SMALL_NOISE = 1.5
"""Noise multiplier below which PLD takes seconds and is searched with wide buckets first."""
_WIDE_BUCKETS = 1e-3
"""Width of privacy-loss buckets in that search: ten times PLD's own, for a tenth of the time."""
_FAR, _NEAR = 0.14, 1e-3
"""Steps of a search, in the logarithm of the noise: from where RDP leads, and from where PLD with wide buckets does."""
LEAST_NOISE, MOST_NOISE = 0.05, 1e9
"""Noise multipliers that are priced; calibration stops here.

Below the least, PLD takes minutes, then all memory, and rates below δ would ask for no noise at all.
"""
MOST_STEPS = 10_000_000


def describe(accountant: AccountantName) -> str:
    """Return the accountant's name and version for records."""
    return f"dp-accounting {version('dp-accounting')} {accountant.upper()}"


def check_priceable(event: AnyEvent, access: str) -> None:
    """Refuse what PLD would take minutes, or all memory, to price.

    Args:
        event: what is to be released.
        access: its name, for the message.

    Raises:
        UnsupportedMechanism: if the noise multiplier or the number of steps is out of range.
    """
    if not isinstance(event, Gaussian):
        return
    if not LEAST_NOISE <= event.noise_multiplier <= MOST_NOISE:
        raise UnsupportedMechanism(
            f"{access}: the noise multiplier {event.noise_multiplier:g} is beyond what the accountants price, "
            f"{LEAST_NOISE:g} to {MOST_NOISE:g}. Take one in that range, or none: it is calibrated then."
        )
    if event.steps > MOST_STEPS:
        raise UnsupportedMechanism(
            f"{access}: {event.steps} steps are beyond what the accountants price. Take at most {MOST_STEPS}."
        )


def epsilon(
    events: Sequence[AnyEvent],
    delta: float,
    accountant: AccountantName = "pld",
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> float:
    """Return the smallest ε known for which the composition of ``events`` is (ε, ``delta``)-DP.

    Args:
        events: what was released, in any order. All Gaussian, or all pure.
        delta: δ of the guarantee; unused for pure events.
        accountant: ``"pld"``, the platform's, or ``"rdp"``, the second opinion.
        relation: when two datasets count as neighbours.

    Returns:
        ε ≥ 0; 0 for no events, infinity if any event is non-private. PLD's value is its pessimistic end.

    Raises:
        UnsupportedMechanism: if Gaussian and pure events are mixed, or the accountant cannot price a part, at least not
            in time (``check_priceable``).
    """
    return _epsilon(tuple(events), delta, accountant, relation)


@lru_cache(maxsize=1024)
def _epsilon(events: tuple[AnyEvent, ...], delta: float, accountant: AccountantName, relation: Relation) -> float:
    if any(isinstance(event, NonPrivate) for event in events):
        return math.inf
    pure = [event for event in events if isinstance(event, PureDp)]
    gaussian = [event.exposure for event in events if isinstance(event, Gaussian)]
    if pure and gaussian:
        raise UnsupportedMechanism(
            "One side of the data has both Gaussian and pure-DP accesses; no composition rule for the mixture is "
            "implemented. Use one kind per side."
        )
    if pure:
        return math.fsum(event.epsilon for event in pure)
    if not gaussian:
        return 0.0
    for event in gaussian:
        check_priceable(event, "A Gaussian access")
    # dp-accounting takes a second to load; what only plans or lists runs goes without it.
    from dpib.privacy.pricing import price

    return price(gaussian, delta, accountant, relation)


def calibrate(
    spent: Sequence[AnyEvent],
    event: Gaussian,
    target_epsilon: float,
    delta: float,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> float:
    """Return the smallest noise multiplier with which ``event`` still fits beside ``spent``, by PLD.

    Errs on the safe side: ε of ``spent`` plus the result is at most ``target_epsilon``. Never returns less than 0.05.

    Args:
        spent: Gaussian events already charged.
        event: the event to fit; its own noise multiplier is ignored.
        target_epsilon: ε that everything together may reach.
        delta: δ of the guarantee.
        relation: when two datasets count as neighbours.

    Raises:
        BudgetExceeded: if nothing is left.
    """
    return _calibrate(tuple(spent), event.exposure, target_epsilon, delta, relation)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the exact ε of Gaussian releases with total signal-to-noise ratio ``mu`` = √Σ 1/σ².

    Source:
        Balle and Wang 2018, Theorem 8: δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ).
    """

    def excess(epsilon: float) -> float:
        shift = epsilon / mu
        return float(ndtr(mu / 2 - shift) - math.exp(epsilon + log_ndtr(-mu / 2 - shift)) - delta)

    if excess(0.0) <= 0:
        return 0.0
    upper = 1.0
    while excess(upper) > 0:
        upper *= 2
    return float(brentq(excess, 0.0, upper, xtol=1e-12, rtol=1e-12))


def _exact_noise(spent: Sequence[SampledGaussian], event: SampledGaussian, target: float, delta: float) -> float:
    """Return the noise multiplier, at least ``LEAST_NOISE``, at which unsampled Gaussian releases reach ``target``."""
    before = math.fsum(one.steps / one.noise_multiplier**2 for one in spent)

    def gap(log_sigma: float) -> float:
        return gaussian_epsilon(math.sqrt(before + event.steps * math.exp(-2 * log_sigma)), delta) - target

    least, most = math.log(LEAST_NOISE), math.log(MOST_NOISE)
    if gap(least) <= 0:
        return LEAST_NOISE
    return math.exp(brentq(gap, least, most, xtol=1e-9))


@lru_cache(maxsize=256)
def _calibrate(
    spent: tuple[AnyEvent, ...], event: SampledGaussian, target_epsilon: float, delta: float, relation: Relation
) -> float:
    already = epsilon(spent, delta, "pld", relation)
    gaussian = [one.exposure for one in spent if isinstance(one, Gaussian)]
    if len(gaussian) < len(spent):
        raise UnsupportedMechanism("Noise can be calibrated beside Gaussian events only.")
    if already >= target_epsilon * (1 - _NOTHING_LEFT):
        raise BudgetExceeded(
            f"Nothing is left of the budget: ε = {already:.4g} of {target_epsilon:.4g} is already charged. An access "
            "without a noise multiplier takes all that is left, so it comes last."
        )

    def total(noise_multiplier: float, accountant: AccountantName = "pld") -> float:
        return epsilon([*spent, event.with_noise(noise_multiplier)], delta, accountant, relation)

    # PLD is slow, most of all at small noise. Without sampling the exact curve of the Gaussian tells where to look;
    # else RDP, whose answer is a few per cent higher, brackets it; at small noise PLD with wider buckets finds it, for
    # they lose next to nothing there. PLD with its own buckets alone decides.
    if event.sample_rate == 1 and all(one.sample_rate == 1 for one in gaussian):
        exact = _exact_noise(gaussian, event, target_epsilon * (1 - _CALIBRATION_TOLERANCE), delta)
        if total(exact) <= target_epsilon:
            return exact
    upper = 1.0
    if epsilon(spent, delta, "rdp", relation) < target_epsilon:
        while total(upper, "rdp") > target_epsilon and upper * 1.5 <= MOST_NOISE:
            upper *= 1.5
        while upper > LEAST_NOISE and total(max(upper / 1.1, LEAST_NOISE), "rdp") <= target_epsilon:
            upper = max(upper / 1.1, LEAST_NOISE)
    from dpib.privacy.pricing import price

    def wide(noise_multiplier: float) -> float:
        releases = [*gaussian, event.with_noise(noise_multiplier)]
        return price(releases, delta, "pld", relation, _WIDE_BUCKETS)

    if upper >= _SMALL_NOISE:
        return _least(total, target_epsilon, upper, _FAR, _CALIBRATION_TOLERANCE)
    near = _least(wide, target_epsilon, upper, _FAR, _CALIBRATION_TOLERANCE / 4)
    if target_epsilon * (1 - 2 * _CALIBRATION_TOLERANCE) <= total(near) <= target_epsilon:
        return near
    return _least(total, target_epsilon, near, _NEAR, _CALIBRATION_TOLERANCE)


def _least(total: Callable[[float], float], target: float, start: float, step: float, tolerance: float) -> float:
    """Return the least noise multiplier with which ``total`` is at most ``target``, or one just above it.

    Args:
        total: ε by noise multiplier. Its logarithm is nearly straight in that of the noise, so both are searched.
        target: ε that is not passed.
        start: noise multiplier to begin at.
        step: logarithm of the factor by which the next one is away.
        tolerance: the same of the interval that is left in the end; its safe side is returned.

    Raises:
        BudgetExceeded: if none fits.
    """
    least, most = math.log(LEAST_NOISE), math.log(MOST_NOISE)

    def noise(log_noise: float) -> float:
        return min(max(math.exp(log_noise), LEAST_NOISE), MOST_NOISE)

    @cache
    def gap(log_noise: float) -> float:
        return math.log(max(total(noise(log_noise)), sys.float_info.min) / target)

    lower = upper = math.log(start)
    while gap(upper) > 0:
        if upper >= most:
            raise BudgetExceeded(f"What is left of ε = {target:.4g} is too little for any noise to fit.")
        lower, upper, step = upper, min(upper + step, most), 2 * step
    while gap(lower) <= 0:
        if lower <= least:
            return LEAST_NOISE
        lower, upper, step = max(lower - step, least), lower, min(2 * step, _FAR)
    found: float = brentq(gap, lower, upper, xtol=tolerance)
    while gap(found) > 0:
        found += tolerance
    return noise(found)
