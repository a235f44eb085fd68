"""DP-NTK: a generator fitted to one noisy mean of neural tangent features.

Idea: the gradient of a fixed random network, normalised, is a feature vector of an image. Its mean per class is
released once with noise; a generator is then trained so that its images have the same mean.

Paper: Yang, Adamczewski, Li, Sutherland, Park (JAIR 81, 2024); settings from DPImageBench (2025), appendix B.2.

Released: S = Σ φ(x) e_yᵀ over all records plus N(0, σ²) on its K·D entries, once, with the whole remaining budget.
|φ(x)| = 1 and a record enters one row, so the L2 sensitivity under add-or-remove-one is 1. Everything after the
release is post-processing.

Public: image shape, classes, the nominal size N₀ that divides the sum, and the network's weights, drawn from the
run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math

from pydantic import Field

from dpib.api import RunContext
from dpib_plugins.dp_ntk.features import TangentFeatures
from dpib_plugins.nets.matching import MatchingConfig, MeanEmbedding


class DpNtkConfig(MatchingConfig):
    """Hyper-parameters; defaults are the published ones for grey images."""

    first_width: int = Field(default=800, ge=1, description="width of the first hidden layer")
    second_width: int = Field(default=0, ge=0, description="width of the second hidden layer; 0: there is none")
    n_outputs: int = Field(default=1000, ge=1, description="outputs of the random network; they weigh its last layer")
    rectify_last: bool = Field(default=True, description="apply ReLU before the layer norm of the last hidden layer")
    steps: int = Field(default=2000, ge=1, description="generator updates")
    batch_size: int = Field(default=5000, ge=1, description="generated images per update")
    decay_every: int = Field(default=2001, ge=1, description="updates between two decays of the step size")
    pretrain_steps: int = Field(default=4000, ge=1, description="updates on public images, if there are any")
    pretrain_decay_every: int = Field(
        default=2001, ge=1, description="updates on public or released images between two such decays"
    )


class DpNtk(MeanEmbedding):
    """Matches the noisy mean tangent embedding of every class."""

    Config = DpNtkConfig
    config: DpNtkConfig

    def features(self, context: RunContext) -> TangentFeatures:
        """Return the tangent features of a random network."""
        config = self.config
        widths = [config.first_width, *([config.second_width] if config.second_width else [])]
        weights = context.seeds.torch("random network")
        n_pixels = math.prod(self.task.shape)
        return TangentFeatures(n_pixels, widths, config.n_outputs, config.rectify_last, weights, context.device)
