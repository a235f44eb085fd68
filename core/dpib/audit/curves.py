"""Trade-off curves: the smallest false-negative rate a claim leaves to any test at a false-positive rate.

A claim is refuted by a test whose two error rates lie below its curve (privacy 8.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from dpib.errors import UnsupportedMechanism
from dpib.privacy.accountants import AnyEvent, epsilon, gaussian_epsilon
from dpib.privacy.events import Gaussian, PureDp, SampledGaussian
from dpib.privacy.pricing import privacy_profile

_GRID = tuple(np.linspace(0.0, 16.0, 81).tolist())
"""Where profiles are taken. e⁻¹⁶ is far below any error rate that runs can bound; fewer points lower a curve."""
_COARSE, _FINE, _MANY_STEPS = 1e-3, 1e-4, 200
"""Widths of PLD's buckets up to and above so many steps: wider ones are fast and lower a curve slightly."""
_LEAST_NOISE = 0.1
"""Noise multipliers below take PLD minutes and leave nothing to tell apart."""
_MOST_NOISE = 64.0
_HALVINGS = 8


@dataclass(frozen=True)
class TradeOff:
    """A claimed curve, as the privacy profile it follows from.

    Attributes:
        epsilons: grid of ε ≥ 0.
        deltas: δ(ε) at each.
    """

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]

    def __call__(self, alpha: float) -> float:
        """Return the smallest false-negative rate that the claim allows at false-positive rate ``alpha``.

        Source:
            f(α) = max over ε of max{1 - δ(ε) - e^ε α, e^-ε (1 - δ(ε) - α)}, at least 0: Wasserman and Zhou, 2010;
            Dong, Roth and Su, Gaussian Differential Privacy, 2022.
        """
        eps, delta = np.asarray(self.epsilons), np.asarray(self.deltas)
        rates = np.maximum(1 - delta - np.exp(eps) * alpha, np.exp(-eps) * (1 - delta - alpha))
        return max(0.0, float(rates.max()))


def of_guarantee(eps: float, delta: float) -> TradeOff:
    """Return the curve of an (ε, δ) guarantee alone."""
    return TradeOff((eps,), (delta,))


def of_events(events: Sequence[AnyEvent]) -> TradeOff:
    """Return the curve of what a ledger charged, from the PLD of its events under add-or-remove-one.

    Raises:
        UnsupportedMechanism: for non-private access, or a mixture that nothing prices.
    """
    gaussian = [event.exposure for event in events if isinstance(event, Gaussian)]
    if len(gaussian) < len(events):
        pure = math.fsum(event.epsilon for event in events if isinstance(event, PureDp))
        if gaussian or not math.isfinite(epsilon(events, 0.5)):
            raise UnsupportedMechanism("Only Gaussian accesses, or only pure ones, have a curve to test against.")
        return of_guarantee(pure, 0.0)
    if not gaussian:
        return of_guarantee(0.0, 0.0)
    width = _COARSE if sum(event.steps for event in gaussian) <= _MANY_STEPS else _FINE
    return TradeOff(_GRID, tuple(privacy_profile(gaussian, _GRID, width)))


def gaussian_rate(alpha: float, mu: float) -> float:
    """Return f(α) = Φ(Φ⁻¹(1 - α) - μ) of one Gaussian release with signal-to-noise ratio μ."""
    return float(ndtr(ndtri(1 - alpha) - mu))


def mu_at(a: float, b: float) -> float:
    """Return the μ of the Gaussian curve through error rates (``a``, ``b``); 0 if they are no better than chance."""
    return max(0.0, float(ndtri(1 - a) - ndtri(b)))


def epsilon_at(a: float, b: float, events: Sequence[AnyEvent], delta: float) -> float:
    """Return the smallest ε at ``delta`` that the same mechanism could claim with error rates (``a``, ``b``).

    The ledger's events are taken with all noise scaled by one factor, the largest with which (``a``, ``b``) still
    lies on or above their curve. For unsampled Gaussians that is the ε of μ = Φ⁻¹(1 - a) - Φ⁻¹(b) (privacy 8.2). A
    ledger without Gaussian events has no such family: the (ε, δ) bound is returned.
    """
    gaussian = [event.exposure for event in events if isinstance(event, Gaussian)]
    if not gaussian or len(gaussian) < len(events):
        return epsilon_of_rates(a, b, delta)
    if a + b >= 1:
        return 0.0
    if all(event.sample_rate == 1 for event in gaussian):
        mu = mu_at(a, b)
        return gaussian_epsilon(mu, delta) if mu > 0 else 0.0

    def scaled(log_factor: float) -> list[SampledGaussian]:
        return [event.with_noise(event.noise_multiplier * math.exp(log_factor)) for event in gaussian]

    least = min(event.noise_multiplier for event in gaussian)
    low, high = math.log(min(1.0, _LEAST_NOISE / least)), math.log(_MOST_NOISE)
    if b >= of_events(scaled(high))(a):
        return 0.0
    for _ in range(_HALVINGS):  # low: noise with which the rates are possible or as small as PLD takes
        middle = (low + high) / 2
        if b < of_events(scaled(middle))(a):
            high = middle
        else:
            low = middle
    return epsilon(scaled(high), delta)


def epsilon_of_rates(a: float, b: float, delta: float) -> float:
    """Return the ε below which error rates (``a``, ``b``) are impossible: max{0, ln((1-δ-a)/b), ln((1-δ-b)/a)}."""
    ratios = [(1 - delta - x) / y if y > 0 else math.inf for x, y in ((a, b), (b, a)) if 1 - delta - x > 0]
    return max([0.0, *(math.log(ratio) for ratio in ratios)])
