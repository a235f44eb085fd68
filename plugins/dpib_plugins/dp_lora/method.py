"""DP-LoRA: DP-LDM whose private stage trains low-rank additions to the attention projections.

Idea: a low-rank addition has a hundredth of a layer's parameters, and so much less noise, and still reaches all layers.

Paper: Tsai, Li, Chen, Chen, Yu, Ren, Buet-Golfouse (2024); networks and settings from DPImageBench (2025).

Released: what ``dp-ldm`` releases, for a new class table and the low-rank factors alone. The K noised copies of a
record are averaged before its one gradient is clipped. Sensitivity C under add-or-remove-one.

Public: the public images and their labels, taken modulo the number of classes, and all that is learnt from them
(autoencoder, scale of its latents, denoiser); initial factors and class table, image shape, classes, the nominal size
N₀, and all noise of the diffusion process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from dpib_plugins.latent.adapters import Projection, add_low_rank
from dpib_plugins.latent.settings import LatentConfig
from dpib_plugins.latent.synthesizer import LatentDiffusion


class DpLoraConfig(LatentConfig):
    """Hyper-parameters of DP-LoRA."""

    rank: int = Field(default=8, ge=1, description="inner dimension of the low-rank additions")
    alpha: float = Field(default=8.0, gt=0, description="the additions are multiplied with alpha / rank")
    projections: tuple[Projection, ...] = Field(
        default=("q", "k", "v"), min_length=1, description="of attention: which get an addition, of q, k, v, out"
    )
    noise_multiplicity: int = Field(default=8, ge=1, description="noised copies of a record, averaged before clipping")


class DpLora(LatentDiffusion):
    """Low-rank additions to attention and a new class table, from a public pretraining."""

    Config = DpLoraConfig
    config: DpLoraConfig

    def trainable(self) -> list[nn.Parameter]:
        """Add the low-rank layers and return their parameters and those of the class table."""
        return add_low_rank(self.network, self.config.projections, self.config.rank, self.config.alpha)
