"""central-images: a few noisy mean or mode images of every class, for a network to start from.

Idea: before it sees gradients under noise, a network learns what the classes look like on average from a few noisy
central images; what it then has to learn privately is the difference.

Paper: Li, Gong, Li, Zhao, Hou, Wang (IEEE S&P 2025), section 4; settings from DPImageBench (2025), appendix B.2.

Released: n times, over a Poisson sample at rate q, the sum S (K, D) of the records' rows, a row of norm at most R to
the row of its label, plus N(0, (Rσ)²) on all K·D entries. Mean: the centred pixels of the reduced image, R = √d / 2.
Mode: a histogram per pixel, R = √d. The L2 sensitivity of each sum under add-or-remove-one is R. Everything after is
post-processing with public constants.

Public: image shape, classes, the nominal size N₀, from which the sample rate q and the divisor q N₀ / K follow.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dpib.api import (
    LabelledImages,
    MethodConfig,
    Prelude,
    PrivateDataset,
    PublicDataset,
    SampledGaussian,
    TaskInfo,
)
from dpib_plugins.preludes.central_images.rendering import render
from dpib_plugins.preludes.central_images.statistics import Centre, Mean, Mode


class CentralImagesConfig(MethodConfig):
    """Hyper-parameters; defaults are the published ones for MNIST."""

    kind: Literal["mean", "mode"] = Field(default="mean", description="what a pixel of a central image is")
    central_images: int = Field(default=5, ge=1, description="releases: central images of every class")
    central_batch: int = Field(default=6_000, ge=1, description="records expected in the Poisson sample of a release")
    central_noise_multiplier: float = Field(default=5.0, gt=0, description="noise over the sensitivity R of a release")
    downscale: int = Field(default=2, ge=1, description="every so-manieth pixel is kept, in both directions")
    bins: int = Field(default=16, ge=2, le=256, description="bins of a pixel's histogram, for the mode")

    def central_rate(self, task: TaskInfo) -> float:
        """Return the rate of the Poisson sample of a release."""
        return min(1.0, self.central_batch / task.nominal_size)

    def fixed_releases(self, task: TaskInfo) -> Mapping[str, SampledGaussian]:
        """Return the noisy sums."""
        sums = SampledGaussian(
            noise_multiplier=self.central_noise_multiplier,
            sample_rate=self.central_rate(task),
            steps=self.central_images,
        )
        return {"central_noise_multiplier": sums}


class CentralImages(Prelude):
    """Releases central images of every class."""

    Config = CentralImagesConfig
    config: CentralImagesConfig

    def run(self, private: PrivateDataset, public: PublicDataset | None) -> PublicDataset:  # noqa: ARG002
        """Release noisy sums and return central images, ``central_images`` of every class, in turn."""
        config, task = self.config, self.task
        centre = self.centre()
        sample_rate = config.central_rate(task)

        def release() -> Tensor:
            sums = private.plan_noisy_sums(
                config.central_images,
                label="central-images: noisy sums",
                clipping_norm=centre.norm,
                noise_multiplier=config.central_noise_multiplier,
                sample_rate=sample_rate,
                by_class=True,
            )
            return torch.stack([sums.release(centre.rows, index=index) for index in range(config.central_images)])

        sums = self.context.once("noisy sums", release)
        small = centre.read(sums, sample_rate * task.nominal_size / task.n_classes)
        labels = torch.arange(task.n_classes).repeat(config.central_images)
        return PublicDataset(None, LabelledImages(render(small.flatten(0, 1), task.shape), labels))

    def centre(self) -> Centre:
        """Return what a record adds."""
        config, shape = self.config, self.task.shape
        return Mean(shape, config.downscale) if config.kind == "mean" else Mode(shape, config.downscale, config.bins)
