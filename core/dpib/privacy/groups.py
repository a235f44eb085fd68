"""What a guarantee for one record means for K records of one person."""

from __future__ import annotations

import math
from collections.abc import Sequence

import dp_accounting
from dp_accounting.dp_event import MixtureOfGaussiansDpEvent
from dp_accounting.pld import PLDAccountant
from pydantic import Field
from scipy.stats import binom

from dpib.privacy.accountants import gaussian_epsilon
from dpib.privacy.events import Gaussian, NonPrivate, PartitionedGaussian, PureDp, SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.spec import Frozen

MAX_GROUP = 1000
_STRONGEST_GROUP = 8
"""K over noise multiplier above which mixtures take minutes; the guarantee is without value there anyhow."""
_INTERVAL = 1e-2
"""Width of the cells of the discretised privacy loss; rounding is pessimistic. The default of 1e-4 takes minutes."""


class GroupGuarantee(Frozen):
    """(ε, δ) for ``size`` records together, and the formula it comes from."""

    size: int = Field(ge=2, le=MAX_GROUP)
    epsilon: float
    delta: float
    formula: str


def group_guarantee(charges: Sequence[Charge], epsilon: float, delta: float, size: int) -> GroupGuarantee:
    """Return the guarantee for any ``size`` records that are added or removed together.

    Args:
        charges: every access to one side of the data, under add-or-remove-one; none of them non-private.
        epsilon: what the charges amount to for one record.
        delta: δ of that, and of the result wherever the formula allows it.
        size: K ≥ 2.

    Source:
        Gaussian releases of all records: total signal-to-noise K·μ (Dong, Roth, Su 2019, section 2.4; curve of Balle
        and Wang 2018). Poisson samples: Ganesh 2024, "Tight group-level DP guarantees for DP-SGD with sampling via
        mixture of Gaussians mechanisms". Disjoint parts: K records are in K parts at most, and each of these moves by
        its bound whatever happens to its records, so that the ratio is √K·μ. Pure: K·ε. Declared, or kinds mixed:
        (K·ε, δ·(e^{Kε} − 1)/(e^ε − 1)), which always holds.
    """
    events = [charge.event for charge in charges]
    if any(isinstance(event, NonPrivate) for event in events):
        raise ValueError("a non-private access gives no guarantee to a group")
    gaussian = [_as_one(event, size) for event in events if isinstance(event, Gaussian)]
    mixed = 0 < len(gaussian) < len(events)
    if mixed or any(charge.assurance == "declared" for charge in charges):
        return GroupGuarantee(
            size=size,
            epsilon=size * epsilon,
            delta=_standard_delta(epsilon, delta, size),
            formula="(Kε, δ(e^(Kε)−1)/(e^ε−1)), which holds for every mechanism",
        )
    if not gaussian:
        pure = math.fsum(event.epsilon for event in events if isinstance(event, PureDp))
        return GroupGuarantee(size=size, epsilon=size * pure, delta=0.0, formula="Kε of pure releases")
    parts = " (√K of disjoint parts)" if any(isinstance(event, PartitionedGaussian) for event in events) else ""
    sampled = any(event.sample_rate < 1 for event in gaussian)
    if sampled and all(size / event.noise_multiplier <= _STRONGEST_GROUP for event in gaussian):
        return GroupGuarantee(
            size=size,
            epsilon=_mixture_epsilon(gaussian, delta, size),
            delta=delta,
            formula="PLD of Gaussian mixtures whose shift is Binomial(K, sampling rate) (Ganesh 2024)" + parts,
        )
    mu = math.sqrt(math.fsum(event.steps / event.noise_multiplier**2 for event in gaussian))
    without = " without amplification by sampling" if sampled else ""
    return GroupGuarantee(
        size=size,
        epsilon=gaussian_epsilon(size * mu, delta),
        delta=delta,
        formula=f"Gaussian curve at K times the signal-to-noise ratio μ = √Σ(steps/σ²){without}{parts}",
    )


def _as_one(event: Gaussian, size: int) -> SampledGaussian:
    """Return the event whose effect on a group, at ``size`` times its signal, is that of ``event``."""
    if isinstance(event, SampledGaussian):
        return event
    seen = min(size * event.steps_per_part, event.steps)
    factor = size * math.sqrt(event.steps_per_part / seen)
    return event.exposure.with_noise(event.noise_multiplier * factor)


def _standard_delta(epsilon: float, delta: float, size: int) -> float:
    """Return δ·Σ_{i<K} e^{iε}, at most 1."""
    if size * epsilon > 700:
        return 1.0
    factor = float(size) if epsilon == 0 else math.expm1(size * epsilon) / math.expm1(epsilon)
    return min(1.0, delta * factor)


def _mixture_epsilon(events: Sequence[SampledGaussian], delta: float, size: int) -> float:
    accountant = PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=_INTERVAL
    )
    shifts = range(size + 1)
    for event in events:
        if event.sample_rate == 1:
            one: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(event.noise_multiplier / size)
        else:
            chances = binom.pmf(shifts, size, event.sample_rate)
            one = MixtureOfGaussiansDpEvent(
                event.noise_multiplier, [float(shift) for shift in shifts], (chances / chances.sum()).tolist()
            )
        accountant.compose(dp_accounting.SelfComposedDpEvent(one, event.steps))
    return float(accountant.get_epsilon(delta))
