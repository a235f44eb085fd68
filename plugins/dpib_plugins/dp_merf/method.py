"""DP-MERF: a generator fitted to one noisy mean embedding.

Idea: Random Fourier features turn the distribution of every class into a vector, its mean embedding. That vector is
released once with noise; a generator is then trained so that its images have the same embedding.

Paper: Harder, Adamczewski, Park (AISTATS 2021), sections 3 and 4; settings from DPImageBench (2025), appendix B.2.

Released: S = Σ φ(x) e_yᵀ over all records plus N(0, σ²) on its K·D entries, once, with the whole remaining budget.
|φ(x)| = 1 and a record enters one row, so the L2 sensitivity under add-or-remove-one is 1. Everything after the
release is post-processing.

Public: image shape, classes, the nominal size N₀ that divides the sum, and the frequencies, drawn from the run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math

from pydantic import Field

from dpib.api import RunContext
from dpib_plugins.dp_merf.features import FourierFeatures
from dpib_plugins.nets.matching import MatchingConfig, MeanEmbedding


class DpMerfConfig(MatchingConfig):
    """Hyper-parameters; defaults are the published ones."""

    n_features: int = Field(default=10_000, ge=2, multiple_of=2, description="D: a cosine and a sine per frequency")
    squared_length_scale: float = Field(default=105.0, gt=0, description="s of the kernel exp(-|x-y|²/2s), pixels 0..1")


class DpMerf(MeanEmbedding):
    """Matches the noisy mean random-feature embedding of every class."""

    Config = DpMerfConfig
    config: DpMerfConfig

    def features(self, context: RunContext) -> FourierFeatures:
        """Return the random Fourier features of the Gaussian kernel."""
        n_pixels, config = math.prod(self.task.shape), self.config
        generator = context.seeds.torch("frequencies")
        return FourierFeatures(n_pixels, config.n_features, config.squared_length_scale, generator, context.device)
