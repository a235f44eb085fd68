"""DP-LDM: diffusion in the latent space of a public autoencoder. DP-SGD trains class table and attention only.

Idea: the noise grows with the number of trained parameters and the cost with the number of pixels. So the autoencoder
and most of the denoiser come from public images; the private ones teach what is drawn, through the attention blocks.

Paper: Liu, Lyu, Vinaroz, Park (2023); networks and settings from DPImageBench (2025).

Released: in each of T steps, over a Poisson sample, the sum of per-record gradients of the denoising loss, mean over K
noised copies, clipped to C, plus N(0, (σC)²), for class table and later transformers alone. Latents, time steps and
noise are functions of the record and of public randomness. Sensitivity C under add-or-remove-one.

Public: the public images and their labels, taken modulo the number of classes, and all that is learnt from them
(autoencoder, scale of its latents, denoiser); image shape, classes, the nominal size N₀, and all noise of the diffusion
process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from dpib_plugins.latent.adapters import classes_and_transformers
from dpib_plugins.latent.settings import LatentConfig
from dpib_plugins.latent.synthesizer import LatentDiffusion


class DpLdmConfig(LatentConfig):
    """Hyper-parameters of DP-LDM."""

    first_transformer: int = Field(default=9, ge=1, description="transformers are trained from this one on")
    learning_rate_rise: int = Field(
        default=10_000, ge=0, description="noised updates over which the step size rises from zero"
    )
    averaging: float = Field(default=0.9999, ge=0, lt=1, description="noised updates: decay of the moving average")


class DpLdm(LatentDiffusion):
    """Class table and transformers, from a public pretraining."""

    Config = DpLdmConfig
    config: DpLdmConfig

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters of class table and later transformers."""
        return classes_and_transformers(self.network, self.config.first_transformer)
