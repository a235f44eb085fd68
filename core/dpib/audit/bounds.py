"""Bounds from counts: Clopper-Pearson for independent runs, and the one-run theorems for coins of few runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import beta, binom

CONFIDENCE = 0.95


def upper_rate(count: int, n: int, level: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound on a rate: wrong with probability at most ``level``.

    Args:
        count: how often it happened.
        n: number of independent trials.
        level: of the bound.
    """
    if not 0 <= count <= n:
        raise ValueError(f"expected a count from 0 to {n}, got {count}")
    return 1.0 if count == n else float(beta.ppf(1 - level, count + 1, n - count))


def one_run_p_value(coins: int, guesses: int, correct: int, eps: float, delta: float) -> float:
    """Return a bound on P[at least ``correct`` of ``guesses`` right] if the method were (ε, δ)-DP.

    Coins are fair and independent, each deciding whether one canary is in the data. Runs may be pooled: their coins
    are independent of each other.

    Source:
        Steinke, Nasr, Jagielski 2023, Theorem 5.2.
    """
    if not 0 <= correct <= guesses <= coins:
        raise ValueError(f"expected correct <= guesses <= coins, got {correct}, {guesses}, {coins}")
    right = 1 / (1 + math.exp(-eps))
    tail = float(binom.sf(correct - 1, guesses, right))
    if correct == 0:
        return 1.0
    lost = np.arange(1, correct + 1)
    slack = np.cumsum(binom.pmf(correct - lost, guesses, right)) / lost
    return min(1.0, tail + 2 * coins * delta * float(slack.max()))


def one_run_epsilon(coins: int, guesses: int, correct: int, delta: float, level: float = 1 - CONFIDENCE) -> float:
    """Return the largest ε, to 1e-4, that ``one_run_p_value`` rejects at ``level``; 0 if it rejects none."""

    def rejected(eps: float) -> bool:
        return one_run_p_value(coins, guesses, correct, eps, delta) < level

    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, 2 * high
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def one_run_refutes(
    coins: int, guesses: int, correct: int, curve: Callable[[float], float], level: float = 1 - CONFIDENCE
) -> bool:
    """Return whether so many right guesses are less likely than ``level`` under a claimed trade-off curve.

    Args:
        coins: fair and independent, one a canary.
        guesses: how many coins were guessed; the number is fixed beforehand.
        correct: how many guesses were right.
        curve: f of the claim; symmetric.
        level: of the test.

    Source:
        Mahloujifar, Melis, Chaudhuri 2025, Algorithm 3, for guesses of one bit.
    """
    if correct == 0 or guesses == 0:
        return False
    budget = level * guesses / coins
    right = budget * correct / guesses
    wrong = budget * (guesses - correct) / guesses
    for count in range(correct - 1, -1, -1):
        larger = max(wrong, curve(1 - min(1.0, right)))
        right += count / (guesses - count) * (larger - wrong)
        wrong = larger
        if right + wrong > guesses / coins:
            return True
    return False
