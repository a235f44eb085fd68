"""Selectors: each classifier pays its share before data is read, and only the index comes back."""

from __future__ import annotations

import pytest
import torch
from quadrants import quadrant_images

from dpib.errors import BudgetExceeded, ConfigError
from dpib.metrics.accuracy import Accuracy
from dpib.metrics.selection import NoisySelector, StoredSelector


class FakeValidation:
    """Keeps what it is asked and answers with a winner of the test's choosing."""

    def __init__(self, winner=0, refuse=False):
        self.asked, self.counts, self._winner, self._refuse = [], [], winner, refuse
        self.data = quadrant_images(30, 5)

    def noisy_argmax(self, *, n_candidates, epsilon, label):
        if self._refuse:
            raise BudgetExceeded("nothing left")
        self.asked.append((n_candidates, epsilon, label))
        return self

    def score(self, statistic):
        values = statistic(self.data.images, self.data.labels)
        assert values.dtype == torch.float64
        assert set(values.tolist()) <= {0.0, 1.0}
        self.counts.append(values.sum().item())

    def winner(self):
        return self._winner


def test_budget_is_split_evenly_over_classifiers():
    validation = FakeValidation()
    selector = NoisySelector(validation, epsilon=3.0, n_classifiers=3)
    for name in ("a", "b", "c"):
        selector.open(name, 10)
    assert validation.asked == [(10, 1.0, f"select epoch of {name}") for name in ("a", "b", "c")]


def test_statistic_is_correctness_of_the_prediction():
    validation = FakeValidation(winner=4)
    ballot = NoisySelector(validation, 1.0, 1).open("a", 2)
    ballot.observe(lambda images: validation.data.labels.clone())
    ballot.observe(lambda images: (validation.data.labels + 1) % 4)
    assert validation.counts == [30.0, 0.0]
    assert ballot.chosen() == 4


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_a_run_reports_the_noisy_winner_whatever_the_exact_counts_say(make_inputs, winner):
    validation = FakeValidation(winner)
    scores = Accuracy().compute(make_inputs(selector=NoisySelector(validation, 1.0, 1)))
    noisy = next(score for score in scores if (score.protocol, score.classifier) == ("noisy-senv", "small-cnn"))
    assert noisy.epoch == winner
    assert len(validation.counts) == 3
    stored = Accuracy().compute(make_inputs(selector=StoredSelector({"small-cnn": winner})))
    assert stored == scores


def test_a_refused_charge_stops_before_training(make_inputs):
    with pytest.raises(BudgetExceeded):
        Accuracy().compute(make_inputs(selector=NoisySelector(FakeValidation(refuse=True), 1.0, 1)))


@pytest.mark.parametrize(("epsilon", "n_classifiers"), [(0.0, 1), (float("nan"), 1), (1.0, 0)])
def test_senseless_budgets_are_refused(epsilon, n_classifiers):
    with pytest.raises(ConfigError, match="positive epsilon"):
        NoisySelector(FakeValidation(), epsilon, n_classifiers)
