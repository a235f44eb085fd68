"""DP-FETA: a diffusion model that first learns what the classes look like on average, from noisy central images.

Idea: from easy to hard. A few noisy central images of every class teach outlines and colours; what is left to be learnt
from noisy gradients is the difference.

Paper: Li, Gong, Li, Zhao, Hou, Wang (IEEE S&P 2025); settings from DPImageBench (2025), appendix B.2.

Released: the noisy sums of ``central-images``, n times over a Poisson sample, sensitivity R; then in each of T steps,
over a Poisson sample, the sum of per-record gradients as ``dpdm`` releases it, sensitivity C under add-or-remove-one,
on all budget that is left. The warm-up on central images is post-processing of the first releases.

Public: image shape, classes, the nominal size N₀ that sets sample rates and divisors, initial weights and all noise
of the diffusion process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from dpib.api import PrivateDataset
from dpib_plugins.diffusion.settings import PretrainedDiffusionConfig
from dpib_plugins.diffusion.synthesizer import PretrainedDiffusion
from dpib_plugins.preludes.central_images.prelude import CentralImages, CentralImagesConfig


class DpFetaConfig(PretrainedDiffusionConfig, CentralImagesConfig):
    """Hyper-parameters of central images and of the diffusion model; defaults are the published ones for CIFAR-10."""


class DpFeta(PretrainedDiffusion):
    """Central images, a warm-up on them, DP-SGD on all parameters."""

    Config = DpFetaConfig
    config: DpFetaConfig

    def fit(self, private: PrivateDataset) -> None:
        """Release central images, learn from them, then train with DP-SGD."""
        central = CentralImages(self.config, self.task, self.context.within("central images"))
        self.warm_up(central.run(private, None), self.context.within("warm up on central images"))
        self.fine_tune(private)
