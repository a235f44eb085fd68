"""Guarantees for several images of one person."""

from __future__ import annotations

import math

import pytest

from dpib.privacy.accountants import epsilon, gaussian_epsilon
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian
from dpib.privacy.groups import group_guarantee
from dpib.privacy.ledger import Charge

DELTA = 1e-5


def charge(event: object, assurance: str = "mechanism", n: int = 1) -> Charge:
    return Charge(id=f"train-{n}", side="train", label=f"access {n}", event=event, assurance=assurance)  # type: ignore[arg-type]


def test_a_gaussian_release_for_k_is_one_at_k_times_less_noise() -> None:
    group = group_guarantee([charge(SampledGaussian(noise_multiplier=8.0))], 1.0, DELTA, 4)
    assert group.delta == DELTA
    assert group.epsilon == pytest.approx(epsilon([SampledGaussian(noise_multiplier=2.0)], DELTA), rel=1e-3)


def test_several_releases_add_up_before_the_group_is_formed() -> None:
    events = [SampledGaussian(noise_multiplier=20.0, steps=9), SampledGaussian(noise_multiplier=10.0)]
    group = group_guarantee([charge(event, n=n) for n, event in enumerate(events)], 1.0, DELTA, 2)
    assert group.epsilon == pytest.approx(gaussian_epsilon(2 * math.sqrt(9 / 400 + 1 / 100), DELTA), rel=1e-9)


def test_poisson_sampled_groups_lie_between_one_record_and_no_amplification() -> None:
    event = SampledGaussian(noise_multiplier=2.0, sample_rate=0.1, steps=20)
    alone = epsilon([event], DELTA)
    group = group_guarantee([charge(event)], alone, DELTA, 2)
    assert "Ganesh" in group.formula
    assert 2 * alone < group.epsilon < gaussian_epsilon(2 * math.sqrt(20) / 2.0, DELTA)
    certain = SampledGaussian(noise_multiplier=2.0, sample_rate=1 - 1e-12, steps=20)
    assert group_guarantee([charge(certain)], alone, DELTA, 2).epsilon == pytest.approx(
        gaussian_epsilon(2 * math.sqrt(20) / 2.0, DELTA), rel=1e-3
    )


def test_large_groups_fall_back_on_the_bound_without_sampling() -> None:
    event = SampledGaussian(noise_multiplier=1.0, sample_rate=0.1, steps=20)
    group = group_guarantee([charge(event)], 1.0, DELTA, 100)
    assert group.epsilon == pytest.approx(gaussian_epsilon(100 * math.sqrt(20), DELTA), rel=1e-6)
    assert "without amplification" in group.formula


def test_pure_and_declared_accesses() -> None:
    pure = group_guarantee([charge(PureDp(epsilon=0.5))], 0.5, DELTA, 3)
    assert (pure.epsilon, pure.delta) == (1.5, 0.0)
    event = SampledGaussian(noise_multiplier=4.0)
    declared = group_guarantee([charge(event, "declared")], 1.0, DELTA, 2)
    assert declared.epsilon == 2.0
    assert declared.delta == pytest.approx(DELTA * (1 + math.e))
    assert group_guarantee([charge(event, "declared")], 10.0, DELTA, 200).delta == 1.0
    assert group_guarantee([], 0.0, DELTA, 3).epsilon == 0.0
    with pytest.raises(ValueError, match="no guarantee"):
        group_guarantee([charge(NonPrivate(), "non-private")], math.inf, DELTA, 2)


def test_full_releases_beside_sampled_ones_are_counted_in_full() -> None:
    sampled = SampledGaussian(noise_multiplier=2.0, sample_rate=0.1, steps=20)
    full = SampledGaussian(noise_multiplier=8.0)
    both = group_guarantee([charge(sampled, n=1), charge(full, n=2)], 1.0, DELTA, 2)
    assert both.epsilon > group_guarantee([charge(sampled)], 1.0, DELTA, 2).epsilon
    assert both.epsilon > group_guarantee([charge(full)], 1.0, DELTA, 2).epsilon


def test_a_mixture_of_kinds_gets_the_bound_that_holds_for_all() -> None:
    gaussian, pure = SampledGaussian(noise_multiplier=8.0), PureDp(epsilon=0.5)
    both = group_guarantee([charge(gaussian, n=1), charge(pure, n=2)], 1.0, DELTA, 2)
    assert both.epsilon == 2.0 and "every mechanism" in both.formula
