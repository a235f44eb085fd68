"""DP-Kernel: a generator fitted to noisy kernel mean embeddings under several bandwidths.

Idea: a kernel that sums Gaussians of five bandwidths compares images at five scales. The mean embedding of every class
under it is released with noise; a generator is then trained so that its images have the same embedding.

Paper: Jiang, Sun, Yu (NeurIPS 2023), sections 4 and 5; settings from DPImageBench (2025), appendix B.2.

Released: S = Σ ψ(x) e_yᵀ plus N(0, σ²) on its K·D entries. Either once, over all records, or in every step, over a
Poisson sample with fresh frequencies; then σ is that of all T sums together. |ψ(x)| = 1 and a record enters one row,
so the L2 sensitivity under add-or-remove-one is 1. The generator sees S only, values and gradients alike.

Public: image shape, classes, the nominal size N₀ that sets the sample rate and divides the sum, the frequencies, drawn
from the run's seed, and the labels of generated images, all classes in turn.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from dpib.api import PrivateDataset, RunContext
from dpib_plugins.dp_kernel.features import MultiBandwidthFeatures
from dpib_plugins.nets.matching import FeatureMap, MatchingConfig, MeanEmbedding


class DpKernelConfig(MatchingConfig):
    """Hyper-parameters; the bandwidths are the published ones, training follows DP-MERF."""

    bandwidths: tuple[PositiveFloat, ...] = Field(
        default=(1.0, 2.0, 4.0, 8.0, 16.0), min_length=1, description="b of the kernels exp(-|x-y|²/2b²), pixels -1..1"
    )
    n_features: int = Field(
        default=10_000, ge=2, description="D: a cosine and a sine per frequency, equally many for each bandwidth"
    )
    release: Literal["once", "every-step"] = Field(
        default="once", description="one noisy sum over all records, or one over a Poisson sample in every step"
    )
    private_batch: int = Field(
        default=5_000, ge=1, description="records expected in the Poisson sample of a step, if released every step"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.n_features % (2 * len(self.bandwidths)):
            raise ValueError(
                f"n_features must be a multiple of 2 x {len(self.bandwidths)} bandwidths, got {self.n_features}"
            )
        return self


class DpKernel(MeanEmbedding):
    """Matches noisy mean embeddings of every class under a mean of Gaussian kernels."""

    Config = DpKernelConfig
    config: DpKernelConfig

    def features(self, context: RunContext, *step: int) -> MultiBandwidthFeatures:
        """Return the random features of the run, or those of a step."""
        n_pixels, config = math.prod(self.task.shape), self.config
        generator = context.seeds.torch("frequencies", *step)
        return MultiBandwidthFeatures(n_pixels, config.n_features, config.bandwidths, generator, context.device)

    def fit(self, private: PrivateDataset) -> None:
        """Release one embedding, or a series, and fit the generator to it."""
        if self.config.release == "once":
            super().fit(private)
        else:
            self._fit_every_step(private)

    def _fit_every_step(self, private: PrivateDataset) -> None:
        config, task = self.config, self.task
        sample_rate = min(1.0, config.private_batch / task.nominal_size)
        sums = private.plan_noisy_sums(
            config.steps, label="class embeddings", clipping_norm=1.0, sample_rate=sample_rate, by_class=True
        )

        def goal(step: int) -> tuple[FeatureMap, Tensor]:
            features = self.features(self.context, step)
            return features, sums.release(features.of_bytes, index=step) / (sample_rate * task.nominal_size)

        self._fit_generator(goal)
