"""Inception Score: are single images classified with confidence, and all of them together into many classes.

Reads synthetic images only, so it says nothing about the sensitive dataset and costs no privacy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpib.metrics.base import EvalInputs, Metric
from dpib.metrics.catalog import INCEPTION_SCORE
from dpib.metrics.features import Features, compared_features, needs_extractor, too_few_images
from dpib.metrics.inception import Inception, classification_layer
from dpib.records import Score

CHUNK = 1024


def inception_score(features: Features, weight: Tensor, bias: Tensor) -> float:
    """Return ``exp(mean KL(p(y|x) || p(y)))``, between 1 and the number of classes, over all images as one split.

    Args:
        features: float32 (N, D), read chunk by chunk.
        weight: (K, D) of the layer that maps features to logits.
        bias: (K,).

    Source:
        Salimans et al., 2016; the K = 1,008 outputs and their bias as the FID's network has them.
    """
    marginal = torch.zeros(len(bias), dtype=torch.float64)
    negative_entropy = 0.0
    for start in range(0, len(features), CHUNK):
        rows = torch.from_numpy(features[start : start + CHUNK].copy())
        logs = torch.log_softmax(torch.addmm(bias, rows, weight.T).double(), dim=1)
        marginal += logs.exp().sum(dim=0)
        negative_entropy += float((logs.exp() * logs).sum())
    marginal /= len(features)
    return math.exp(negative_entropy / len(features) - float(torch.special.xlogy(marginal, marginal).sum()))


class InceptionScore(Metric):
    """``inception-score``: of the synthetic images, from the features that the FID uses; higher is better."""

    card = INCEPTION_SCORE

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return one score; undefined if the track uses another extractor or there are too few images."""
        features = inputs.track.features
        reason = needs_extractor(features, Inception.name)
        if features is not None and reason is None:
            reason = too_few_images(inputs, features, at_least=2)
        if features is None or reason:
            return (self._score(len(inputs.synthetic), reason=reason),)
        compared = compared_features(inputs, features)
        value = inception_score(compared.synthetic, *classification_layer())
        evaluator = f"{Inception.name} at {features.input_size} px, weights sha256:{Inception.digest}, one split"
        return (self._score(len(compared.synthetic), value=value, evaluator=evaluator),)

    def _score(
        self, n_synthetic: int, *, value: float | None = None, reason: str | None = None, evaluator: str = ""
    ) -> Score:
        return Score(
            metric=self.card.name,
            value=value,
            reason=reason,
            higher_is_better=self.card.higher_is_better,
            n_synthetic=n_synthetic,
            evaluator=evaluator,
        )
