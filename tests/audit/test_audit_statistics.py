"""Curves, bounds and detectors against closed forms and what games of the Gaussian mechanism show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binom

from dpib.audit import bounds, curves, detector, run
from dpib.audit.onerun import guessed_each_way
from dpib.audit.profiles import profile
from dpib.errors import UnsupportedMechanism
from dpib.privacy.accountants import gaussian_epsilon
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian

DELTA = 1e-5
NAMES = ("score",)


def mu_for(eps: float) -> float:
    return float(brentq(lambda mu: gaussian_epsilon(mu, DELTA) - eps, 0.01, 20))


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 3.0])
def test_the_curve_of_one_release_is_the_closed_form(noise_multiplier: float) -> None:
    curve = curves.of_events([SampledGaussian(noise_multiplier=noise_multiplier)])
    for alpha in (1e-3, 0.01, 0.1, 0.5, 0.9):
        exact = curves.gaussian_rate(alpha, 1 / noise_multiplier)
        assert exact - 0.02 <= curve(alpha) <= exact + 1e-6


def test_the_curve_of_dp_sgd_lies_above_that_of_its_steps_without_sampling() -> None:
    sampled = SampledGaussian(noise_multiplier=0.8, sample_rate=0.2, steps=20)
    full = curves.of_events([sampled.model_copy(update={"sample_rate": 1.0})])
    curve = curves.of_events([sampled])
    assert all(curve(alpha) > full(alpha) for alpha in (0.01, 0.05, 0.2))


def test_no_access_leaves_nothing_to_tell_apart_and_no_protection_has_no_curve() -> None:
    assert curves.of_events([])(0.3) == pytest.approx(0.7)
    assert curves.of_events([PureDp(epsilon=1.0)])(0.1) == pytest.approx(max(1 - math.e * 0.1, 0.9 / math.e))
    with pytest.raises(UnsupportedMechanism):
        curves.of_events([NonPrivate()])


@given(
    eps=st.floats(0, 8),
    delta=st.floats(0, 0.1),
    alphas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_trade_off_curve_falls_and_stays_below_chance(eps: float, delta: float, alphas: tuple[float, float]) -> None:
    curve = curves.of_guarantee(eps, delta)
    low, high = sorted(alphas)
    assert 0 <= curve(high) <= curve(low) <= 1 - low + 1e-12


@given(st.floats(0.001, 0.499), st.floats(0.001, 0.499))
def test_a_guarantee_below_the_bound_from_counts_is_impossible(a: float, b: float) -> None:
    eps = curves.epsilon_of_rates(a, b, DELTA)
    assert b >= curves.of_guarantee(eps + 1e-6, DELTA)(a)
    assert eps < 0.01 or b < curves.of_guarantee(eps - 0.01, DELTA)(a)


def test_scaled_noise_and_closed_form_agree_on_epsilon() -> None:
    a, b = 0.05, 0.1
    exact = curves.epsilon_at(a, b, [SampledGaussian(noise_multiplier=1.0)], DELTA)
    assert exact == pytest.approx(gaussian_epsilon(curves.mu_at(a, b), DELTA))
    # Sampling at a rate of almost one goes by search and must end beside it.
    searched = curves.epsilon_at(a, b, [SampledGaussian(noise_multiplier=1.0, sample_rate=0.999)], DELTA)
    assert searched == pytest.approx(exact, rel=0.05)


def test_rates_of_chance_bound_nothing() -> None:
    events = [SampledGaussian(noise_multiplier=1.0, sample_rate=0.5, steps=2)]
    assert curves.epsilon_at(0.6, 0.5, events, DELTA) == 0
    assert curves.epsilon_at(0.5, 0.4999, events, DELTA) == 0
    assert curves.epsilon_of_rates(0.5, 0.5, DELTA) == 0


@given(n=st.integers(1, 400), data=st.data(), level=st.sampled_from([0.025, 0.005]))
def test_clopper_pearson_inverts_the_binomial(n: int, data: st.DataObject, level: float) -> None:
    count = data.draw(st.integers(0, n - 1))
    assert binom.cdf(count, n, bounds.upper_rate(count, n, level)) == pytest.approx(level, rel=1e-6)
    assert bounds.upper_rate(n, n, level) == 1


def play(true_mu: float, runs: int, level: float, generator: np.random.Generator) -> detector.Rates:
    without = generator.normal(size=(runs, 1))
    within = generator.normal(true_mu, size=(runs, 1))
    (tune0, test0), (tune1, test1) = detector.halves(without), detector.halves(within)
    return detector.rates(detector.tune(tune0, tune1, level, NAMES), test0, test1, level)


@pytest.mark.parametrize(
    ("eps", "runs", "share"),
    [(4.0, 1000, 0.37), (10.0, 200, 0.60), (10.0, 1000, 0.68)],
)
def test_mean_bound_of_the_gaussian_mechanism(eps: float, runs: int, share: float) -> None:
    """At least the share of ε that simulated games show, and above the truth in at most 5 %. Fixed seed."""
    mu, generator = mu_for(eps), np.random.default_rng(7)
    found = []
    for _ in range(60):
        rates = play(mu, runs, 0.05, generator)
        shown = curves.mu_at(rates.a, rates.b)
        found.append((gaussian_epsilon(shown, DELTA) if shown > 0 else 0.0) / eps)
    assert np.mean(found) >= share - 0.05
    assert sum(one > 1 for one in found) <= 3


def test_half_the_noise_is_refuted_and_the_right_noise_is_not() -> None:
    """At ε = 10 with 250 runs: half noise 1.00, correct at most 0.001. Fixed seed."""
    mu, generator = mu_for(10.0), np.random.default_rng(8)
    refuted = {}
    for ratio in (1.0, 0.5):
        tests = [play(mu / ratio, 250, 0.05, generator) for _ in range(50)]
        refuted[ratio] = sum(found.b < curves.gaussian_rate(found.a, mu) for found in tests)
    assert refuted[1.0] <= 1
    assert refuted[0.5] >= 49


def test_the_detector_finds_a_low_feature_and_a_combination() -> None:
    generator = np.random.default_rng(9)
    noise = generator.normal(size=(400, 3))
    lower = detector.tune(noise[:200], noise[200:] - [0, 4.0, 0], 0.05, ("x", "y", "z"))
    assert lower.name == "low y"
    combined = detector.tune(noise[:200], noise[200:] + 1.6, 0.05, ("x", "y", "z"))
    assert combined.name == "logistic combination"


def test_tuning_scores_never_enter_the_bound() -> None:
    constant = np.zeros((10, 1))
    found = detector.rates(detector.tune(constant, constant, 0.05, NAMES), constant, constant, 0.05)
    assert (found.false_positives, found.false_negatives, found.b) == (0, 10, 1.0)


def test_power_tells_half_noise_from_the_right_noise() -> None:
    mu, generator = mu_for(10.0), np.random.default_rng(10)

    def curve(alpha: float) -> float:
        return curves.gaussian_rate(alpha, mu)

    shares = []
    for true_mu in (mu, 2 * mu):
        without, within = generator.normal(size=(250, 1)), generator.normal(true_mu, size=(250, 1))
        shares.append(detector.share_refuted(without, within, NAMES, curve, 0.01, 30, generator))
    assert shares[0] <= 0.1
    assert shares[1] >= 0.9


@pytest.mark.parametrize("eps", [0.5, 1.0, 3.0])
def test_the_one_run_theorem_without_delta_is_the_binomial(eps: float) -> None:
    right = math.exp(eps) / (1 + math.exp(eps))
    assert bounds.one_run_p_value(500, 100, 90, eps, 0.0) == pytest.approx(binom.sf(89, 100, right))
    shown = bounds.one_run_epsilon(500, 100, 90, 0.0)
    assert binom.sf(89, 100, 1 / (1 + math.exp(-shown))) == pytest.approx(0.05, abs=1e-3)


def test_one_run_bounds_grow_with_right_guesses_and_shrink_with_delta() -> None:
    assert bounds.one_run_epsilon(1000, 200, 100, 0.0) == 0
    few, many = (bounds.one_run_epsilon(1000, 200, correct, 1e-5) for correct in (160, 190))
    assert 0 < few < many
    assert bounds.one_run_epsilon(1000, 200, 190, 1e-3) < many


def test_the_one_run_curve_test_is_nearly_the_binomial_for_pure_privacy_and_never_stricter() -> None:
    for n, eps in ((100, 1.0), (100, 2.0), (1000, 1.0)):
        right = math.exp(eps) / (1 + math.exp(eps))
        exact = int(binom.isf(0.05, n, right)) + 1
        curve = curves.of_guarantee(eps, 0.0)
        needed = next(k for k in range(n // 2, n + 1) if bounds.one_run_refutes(n, n, k, curve))
        assert exact <= needed <= exact + 2


def test_the_one_run_curve_test_reaches_the_bound_of_the_reference() -> None:
    """2,000 coins show 62 % of ε = 10 on average, at the best guess fraction. One fixed draw."""
    mu, generator = mu_for(10.0), np.random.default_rng(11)
    coins = generator.integers(0, 2, 2000).astype(bool)
    scores = mu * coins + generator.normal(size=2000) - mu / 2
    order = np.argsort(scores)
    correct = int((~coins[order[:200]]).sum() + coins[order[-200:]].sum())
    shown = brentq(
        lambda m: bounds.one_run_refutes(2000, 400, correct, lambda a: curves.gaussian_rate(a, m)) - 0.5, 0.01, 20
    )
    assert 0.4 <= gaussian_epsilon(shown, DELTA) / 10 <= 0.8
    assert not bounds.one_run_refutes(2000, 400, correct, lambda a: curves.gaussian_rate(a, mu))


def test_errors_that_cannot_be_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        bounds.upper_rate(11, 10, 0.05)
    with pytest.raises(ValueError, match="correct"):
        bounds.one_run_p_value(10, 11, 5, 1.0, 0.0)
    assert math.isfinite(float(ndtri(bounds.upper_rate(0, 100, 0.025))))


def test_the_one_run_theorem_shows_little_at_the_delta_of_the_tiny_data_and_the_curve_test_much() -> None:
    (runs, canaries), level = profile("one-run").one_run, profile("one-run").level
    coins, guesses = runs * canaries, 2 * runs * guessed_each_way(canaries)
    assert 0.5 < bounds.one_run_epsilon(coins, guesses, guesses, run.DELTA, level) < 0.53
    for sigma, refuted in ((0.5, False), (0.7, True)):  # ε = 7.5 and 4.9 at this δ
        claim = curves.of_events([SampledGaussian(noise_multiplier=sigma)])
        assert bounds.one_run_refutes(coins, guesses, guesses, claim, level) is refuted
