"""ε against published numbers, a closed form, and two accountants that are not ours."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from dpib.errors import BudgetExceeded, ConfigError, UnsupportedMechanism
from dpib.privacy import accountants, pricing
from dpib.privacy.accountants import (
    AccountantName,
    AnyEvent,
    calibrate,
    describe,
    epsilon,
    gaussian_epsilon,
)
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian
from dpib.privacy.pricing import privacy_profile
from dpib.spec import Relation, delta_for

MNIST, CIFAR, EUROSAT, CELEBA, CAMELYON = 55_000, 45_000, 21_000, 145_064, 269_538
D = delta_for(MNIST)


def gaussian(sigma: float, q: float = 1.0, steps: int = 1) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=sigma, sample_rate=q, steps=steps)


def exact_epsilon(sigma: float, steps: int, delta: float) -> float:
    """Closed form for one Gaussian of mu = sqrt(steps) / sigma (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(steps) / sigma
    return float(
        brentq(lambda e: norm.cdf(-e / mu + mu / 2) - math.exp(e) * norm.cdf(-e / mu - mu / 2) - delta, 0, 600)
    )


@pytest.mark.parametrize(
    ("nominal_size", "delta"),
    [
        (MNIST, 1.6657508770018431e-06),
        (CELEBA, 5.800209926283058e-07),
        (CIFAR, 2.07404851125286e-06),
        (EUROSAT, 4.785e-6),
        (CAMELYON, 2.967e-7),
    ],
)
def test_delta_is_one_over_n_log_n(nominal_size: int, delta: float) -> None:
    assert delta_for(nominal_size) == pytest.approx(delta, rel=2e-4)


def test_delta_of_a_single_record_is_refused() -> None:
    with pytest.raises(ConfigError):
        delta_for(1)


# (what, events, nominal size, epsilon, tolerance): published settings and noise that other accountants gave for them
# (docs/decisions/0005). The noise for DP-SGD at eps 1 is 0.3 to 0.7 % on the safe side: Opacus' PRV estimates 0.9967,
# 0.9933 and 0.9935 for MNIST, CelebA and Camelyon, which is what PLD gives here to the fourth digit.
SIGMA_BY_PLD = [
    ("one release, eps 1", [gaussian(4.119)], MNIST, 1.0, 1e-3),
    ("one release, eps 10", [gaussian(0.532)], MNIST, 10.0, 1e-3),
    ("MNIST DP-SGD, eps 1", [gaussian(14.474, 4096 / MNIST, 2196)], MNIST, 0.9967, 5e-4),
    ("MNIST DP-SGD, eps 10", [gaussian(2.006, 4096 / MNIST, 2196)], MNIST, 10.0, 5e-3),
    ("CIFAR DP-SGD, eps 1", [gaussian(15.954, 4096 / CIFAR, 1830)], CIFAR, 1.0, 5e-3),
    ("CIFAR DP-SGD, eps 10", [gaussian(2.196, 4096 / CIFAR, 1830)], CIFAR, 10.0, 5e-3),
    ("EuroSAT DP-SGD, eps 1", [gaussian(22.12, 4096 / EUROSAT, 842)], EUROSAT, 1.0, 5e-3),
    ("EuroSAT DP-SGD, eps 10", [gaussian(3.015, 4096 / EUROSAT, 842)], EUROSAT, 10.0, 5e-3),
    ("CelebA DP-SGD, eps 1", [gaussian(7.828, 4096 / CELEBA, 3974)], CELEBA, 0.9933, 5e-4),
    ("CelebA DP-SGD, eps 10", [gaussian(1.206, 4096 / CELEBA, 3974)], CELEBA, 10.0, 5e-3),
    ("Camelyon DP-SGD, eps 1", [gaussian(4.244, 4096 / CAMELYON, 3692)], CAMELYON, 0.9935, 5e-4),
    ("Camelyon DP-SGD, eps 10", [gaussian(0.833, 4096 / CAMELYON, 3692)], CAMELYON, 10.0, 5e-3),
    ("MNIST at RDP's sigma", [gaussian(15.508, 4096 / MNIST, 2196)], MNIST, 0.928, 5e-3),
    ("MNIST at RDP's sigma, eps 10", [gaussian(2.108, 4096 / MNIST, 2196)], MNIST, 9.35, 5e-3),
    ("Camelyon at RDP's sigma", [gaussian(4.499, 4096 / CAMELYON, 3692)], CAMELYON, 0.938, 7.5e-3),
    ("shuffled batches, 164 epochs unamplified", [gaussian(15.508, steps=164)], MNIST, 3.85, 2e-3),
    ("PE, 5 histograms, eps 1", [gaussian(9.107351925709143, steps=5)], CIFAR, 1.0, 1e-3),
    ("PE, 7 histograms, eps 1", [gaussian(10.90, steps=7)], MNIST, 1.0, 1e-3),
    ("PE, 7 histograms, eps 10", [gaussian(1.408, steps=7)], MNIST, 10.0, 1e-3),
    ("PE, one histogram too many, eps 1", [gaussian(10.90, steps=8)], MNIST, 1.075, 1e-3),
    ("PE, one histogram too many, eps 10", [gaussian(1.408, steps=8)], MNIST, 10.84, 1e-3),
    ("PrivImage query", [gaussian(50.0)], CIFAR, 0.067, 8e-3),
    ("DP-FETA central images", [gaussian(5.0, 6000 / MNIST, 5)], MNIST, 0.21, 2.5e-2),
    (
        "DP-FETA whole",
        [gaussian(5.0, 6000 / MNIST, 5), gaussian(14.80, 4096 / MNIST, 2196)],
        MNIST,
        1.0,
        5e-3,
    ),
    ("GS-WGAN, T=2000, eps 1", [gaussian(32.95, steps=64)], MNIST, 1.0, 1e-3),
    ("GS-WGAN, T=2000, eps 10", [gaussian(4.258, steps=64)], MNIST, 10.0, 1e-3),
    ("GS-WGAN, T=20000, eps 1", [gaussian(104.2, steps=640)], MNIST, 1.0, 1e-3),
    ("GS-WGAN, T=20000, eps 10", [gaussian(13.46, steps=640)], MNIST, 10.0, 1e-3),
]


@pytest.mark.parametrize(
    ("events", "n", "expected", "tolerance"), [r[1:] for r in SIGMA_BY_PLD], ids=[r[0] for r in SIGMA_BY_PLD]
)
def test_epsilon_by_pld_is_that_of_published_settings(
    events: list[AnyEvent], n: int, expected: float, tolerance: float
) -> None:
    assert epsilon(events, delta_for(n)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    ("events", "n", "expected", "tolerance"),
    [  # noise that RDP gave for the same settings
        ([gaussian(4.427)], MNIST, 1.0, 5e-3),
        ([gaussian(0.561)], MNIST, 10.0, 5e-3),
        ([gaussian(15.508, 4096 / MNIST, 2196)], MNIST, 1.0, 5e-3),
        ([gaussian(2.108, 4096 / MNIST, 2196)], MNIST, 10.0, 5e-3),
        ([gaussian(17.125, 4096 / CIFAR, 1830)], CIFAR, 1.0, 5e-3),
        ([gaussian(50.0), gaussian(17.191, 4096 / CIFAR, 1830)], CIFAR, 1.0, 5e-3),
        ([gaussian(5.0, 6000 / MNIST, 5)], MNIST, 0.24, 2.5e-2),
    ],
)
def test_second_opinion_is_rdp(events: list[AnyEvent], n: int, expected: float, tolerance: float) -> None:
    assert epsilon(events, delta_for(n), "rdp") == pytest.approx(expected, rel=tolerance)


def test_accountants_on_the_worked_example() -> None:
    """q = 4096/60000, sigma 2, 1,000 steps, delta 1e-5. GDP says 5.1528, below the truth: not on offer."""
    event = gaussian(2.0, 4096 / 60_000, 1000)
    assert epsilon([event], 1e-5) == pytest.approx(5.2885, abs=2e-4)
    assert epsilon([event], 1e-5, "rdp") == pytest.approx(5.7356, abs=2e-4)
    assert epsilon([event], 1e-5, "pld", Relation.REPLACE_ONE) == pytest.approx(10.939, abs=1e-3)
    assert set(get_args(accountants.AccountantName)) == {"pld", "rdp"}
    assert describe("pld").startswith("dp-accounting ") and describe("pld").endswith(" PLD")


def test_replace_one_doubles_the_shift_and_not_twice() -> None:
    """Gaussian(4), delta 1e-5."""
    assert epsilon([gaussian(4.0)], 1e-5) == pytest.approx(0.926, abs=1e-3)
    assert epsilon([gaussian(4.0)], 1e-5, "pld", Relation.REPLACE_ONE) == pytest.approx(1.993, abs=1e-3)
    event = gaussian(28.84, 4096 / MNIST, 2196)
    assert epsilon([event], D, "pld", Relation.REPLACE_ONE) == pytest.approx(1.0, rel=5e-3)


def test_rdp_refuses_what_it_cannot_price_instead_of_guessing() -> None:
    with pytest.raises(UnsupportedMechanism, match="RDP cannot price"):
        epsilon([gaussian(2.0, 0.1)], D, "rdp", Relation.REPLACE_ONE)


def test_rules_for_events_that_are_not_gaussian() -> None:
    assert epsilon([], D) == epsilon([], D, "rdp") == 0.0
    assert epsilon([PureDp(epsilon=0.25), PureDp(epsilon=0.5)], D) == 0.75
    assert epsilon([PureDp(epsilon=1.0)] * 3, D, "rdp") == 3.0
    assert epsilon([gaussian(5.0), NonPrivate()], D) == math.inf
    assert epsilon([PureDp(epsilon=0.1), NonPrivate()], D, "rdp") == math.inf
    with pytest.raises(UnsupportedMechanism, match="both Gaussian and pure-DP"):
        epsilon([gaussian(5.0), PureDp(epsilon=0.1)], D)


def test_neither_order_nor_grouping_of_events_changes_the_price() -> None:
    a, b = gaussian(5.0), gaussian(8.0, 0.1, 20)
    split = [gaussian(8.0, 0.1, 15), a, gaussian(8.0, 0.1, 5)]
    assert epsilon([a, b], D) == pytest.approx(epsilon(split, D), rel=1e-9)
    assert epsilon([a, a], D) == pytest.approx(epsilon([gaussian(5.0, steps=2)], D), rel=1e-9)


@pytest.mark.parametrize(("sigma", "steps"), [(0.7, 1), (1.0, 2), (3.0, 1), (3.0, 40), (60.0, 500), (250.0, 3)])
def test_full_releases_agree_with_the_closed_form(sigma: float, steps: int) -> None:
    ours, exact = epsilon([gaussian(sigma, steps=steps)], D), exact_epsilon(sigma, steps, D)
    assert exact * (1 - 1e-9) <= ours <= exact * (1 + 1e-3) + 1e-4
    assert ours <= epsilon([gaussian(sigma, steps=steps)], D, "rdp")


def test_releases_of_different_noise_compose_like_one_gaussian() -> None:
    mixed = [gaussian(2.0), gaussian(3.0, steps=4), gaussian(10.0, steps=9)]
    mu = math.sqrt(1 / 4 + 4 / 9 + 9 / 100)
    assert epsilon(mixed, D) == pytest.approx(exact_epsilon(1 / mu, 1, D), rel=1e-3)


def test_a_rate_just_below_one_is_not_amplified() -> None:
    whole = epsilon([gaussian(4.0, steps=3)], D)
    for rate in (1 - 2**-53, 1 - 1e-9):
        assert epsilon([gaussian(4.0, rate, 3)], D) >= whole * (1 - 1e-6)


def prv_epsilon(event: SampledGaussian, delta: float) -> tuple[float, float]:
    """Return lower and upper end by Opacus' PRV accountant, an independent implementation."""
    accountant = PRVAccountant()
    accountant.history = [(event.noise_multiplier, event.sample_rate, event.steps)]
    dprv = accountant._get_dprv(eps_error=0.01, delta_error=delta / 1000)
    lower, _, upper = dprv.compute_epsilon(delta, delta / 1000, 0.01)
    return float(lower), float(upper)


@pytest.mark.parametrize(
    "event",
    [
        gaussian(14.474, 4096 / MNIST, 2196),
        gaussian(2.006, 4096 / MNIST, 2196),
        gaussian(1.206, 4096 / CELEBA, 3974),
        gaussian(1.0, 0.01, 500),
        gaussian(4.0, 0.5, 30),
    ],
    ids=str,
)
def test_sampled_releases_agree_with_an_independent_accountant(event: SampledGaussian) -> None:
    ours = epsilon([event], D)
    lower, upper = prv_epsilon(event, D)
    assert lower * (1 - 0.005) <= ours <= upper * (1 + 0.005)
    assert ours == pytest.approx((lower + upper) / 2, rel=0.005, abs=0.011)
    assert ours <= epsilon([event], D, "rdp")


def test_calibration_of_one_release_gives_the_known_noise() -> None:
    assert calibrate([], gaussian(1.0), 1.0, D) == pytest.approx(4.119, abs=5e-4)
    assert calibrate([], gaussian(1.0), 10.0, D) == pytest.approx(0.532, abs=5e-4)


def check_calibration(spent: Sequence[AnyEvent], event: SampledGaussian, target: float) -> None:
    sigma = calibrate(spent, event, target, D)
    events = [*spent, event.with_noise(sigma)]
    total = epsilon(events, D)
    assert 0.98 * target <= total <= target
    assert total <= epsilon(events, D, "rdp")
    if event.sample_rate == 1 and not spent:
        assert total == pytest.approx(exact_epsilon(sigma, event.steps, D), rel=1e-3)
    elif not spent:
        lower, upper = prv_epsilon(event.with_noise(sigma), D)
        assert lower * (1 - 0.005) <= total <= upper * (1 + 0.005)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(  # target, steps, rate; PLD at small noise takes seconds, so that large targets come with many steps
    st.one_of(
        st.tuples(st.floats(0.2, 20.0), st.integers(10, 1000), st.just(1.0)),
        st.tuples(st.floats(0.2, 2.0), st.integers(500, 1500), st.sampled_from([0.5, 4096 / MNIST])),
        st.tuples(st.floats(0.2, 0.8), st.integers(100, 1000), st.just(0.01)),
    )
)
@example((0.2, 1, 1.0))
@example((20.0, 40, 1.0))
def test_calibration_spends_the_target_and_never_more(access: tuple[float, int, float]) -> None:
    target, steps, rate = access
    check_calibration([], gaussian(1.0, rate, steps), target)


@pytest.mark.parametrize(
    ("spent", "event", "target"),
    [
        ([gaussian(5.0, 6000 / MNIST, 5)], gaussian(1.0, 4096 / MNIST, 2196), 1.0),
        ([gaussian(50.0), gaussian(20.0)], gaussian(1.0, steps=3), 2.0),
        ([gaussian(5.0)], gaussian(1.0, 4096 / MNIST, 500), 1.0),
    ],
    ids=["query, then DP-SGD", "two queries, then three sums", "most is spent already"],
)
def test_calibration_leaves_room_for_what_was_spent(
    spent: list[AnyEvent], event: SampledGaussian, target: float
) -> None:
    check_calibration(spent, event, target)
    assert calibrate(spent, event, target, D) > calibrate([], event, target, D)


def test_small_noise_is_found_with_wide_buckets_and_judged_without() -> None:
    event = gaussian(1.0, 4096 / CELEBA, 3974)
    check_calibration([], event, 10.0)
    sigma = calibrate([], event, 10.0, D)
    assert 10.0 * (1 - 1e-3) <= epsilon([event.with_noise(sigma)], D) <= 10.0


def test_calibration_ignores_the_noise_it_is_given() -> None:
    assert calibrate([], gaussian(3.0), 1.0, D) == calibrate([], gaussian(777.0), 1.0, D)


def test_calibration_refuses_when_nothing_is_left() -> None:
    with pytest.raises(BudgetExceeded, match="Nothing is left"):
        calibrate([gaussian(4.0)], gaussian(1.0), 1.0, D)


def test_a_second_calibrated_access_is_told_that_nothing_is_left() -> None:
    """The first leaves 1e-4 of the budget behind; noise that fits into that would be 200,000 times the sensitivity."""
    for event in (gaussian(1.0), gaussian(1.0, 4096 / MNIST, 2196)):
        first = event.with_noise(calibrate([], event, 1.0, D))
        for second in (gaussian(1.0), gaussian(1.0, 0.1, 50)):
            with pytest.raises(BudgetExceeded, match="Nothing is left"):
                calibrate([first], second, 1.0, D)


@pytest.mark.parametrize("mu", [0.05, 0.24, 1.0, 3.0, 12.0])
def test_the_exact_curve_of_the_gaussian_is_the_closed_form(mu: float) -> None:
    assert gaussian_epsilon(mu, D) == pytest.approx(exact_epsilon(1 / mu, 1, D), rel=1e-7)


def test_the_exact_curve_is_zero_where_no_epsilon_is_needed() -> None:
    assert gaussian_epsilon(1e-7, D) == 0.0


def test_calibration_finds_room_that_only_pld_sees() -> None:
    spent = [gaussian(4.2)]
    assert epsilon(spent, D, "rdp") > 1.0 > epsilon(spent, D)
    check_calibration(spent, gaussian(1.0), 1.0)


def test_calibration_gives_up_when_too_little_is_left_for_any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountants, "MOST_NOISE", 5.0)
    with pytest.raises(BudgetExceeded, match="too little"):
        accountants._calibrate.__wrapped__((gaussian(4.2),), gaussian(1.0, 0.9), 1.0, D, Relation.ADD_OR_REMOVE_ONE)


def test_calibration_refuses_to_compose_with_pure_events() -> None:
    with pytest.raises(UnsupportedMechanism, match="beside Gaussian events only"):
        calibrate([PureDp(epsilon=0.1)], gaussian(1.0), 1.0, D)


def test_calibration_never_goes_below_the_least_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample rate below delta needs no noise at all to be (0, delta)-DP: that is no protection of anybody."""
    monkeypatch.setattr(accountants, "LEAST_NOISE", 0.5)
    assert calibrate([], gaussian(1.0, D / 10), 1.0, D) == 0.5
    assert calibrate([], gaussian(1.0), 40.0, D) == 0.5


@pytest.mark.parametrize("event", [gaussian(0.003, 0.5), gaussian(0.049), gaussian(1e10), gaussian(1.0, 0.5, 10**12)])
@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_what_would_take_all_memory_to_price_is_refused_before_an_accountant_is_asked(
    event: SampledGaussian, accountant: AccountantName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pricing, "price")
    with pytest.raises(UnsupportedMechanism, match="beyond what the accountants price"):
        epsilon([gaussian(2.0), event], D, accountant)


def test_replace_one_needs_more_noise_than_add_or_remove_one() -> None:
    sigma = calibrate([], gaussian(1.0), 1.0, D, Relation.REPLACE_ONE)
    assert sigma == pytest.approx(2 * 4.119, rel=1e-3)


def test_pricing_keeps_the_console_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    epsilon([gaussian(0.561)], D, "rdp")
    assert logging.getLogger("absl").level == logging.ERROR
    assert capsys.readouterr().err == ""


def test_the_profile_is_the_closed_form_and_never_below_it() -> None:
    epsilons = [0.0, 0.5, 1.0, 2.0]
    profile = privacy_profile([gaussian(2.0)], epsilons)
    exact = [norm.cdf(0.25 - 2 * e) - math.exp(e) * norm.cdf(-0.25 - 2 * e) for e in epsilons]
    assert profile == pytest.approx(exact, rel=1e-3)
    assert all(ours >= theirs * (1 - 1e-9) for ours, theirs in zip(profile, exact, strict=True))
