"""What dp-ldm and dp-lora have in common: public pretraining, DP-SGD on part of the latent denoiser, sampling."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from dpib.api import ConfigError, MethodConfig, PrivateDataset, PublicDataset, RunContext, Synthesizer, TaskInfo
from dpib_plugins.diffusion.adapters import train_only
from dpib_plugins.diffusion.augment import changed_at_random
from dpib_plugins.diffusion.edm import scaled, to_uint8
from dpib_plugins.diffusion.noise import NoisePool
from dpib_plugins.diffusion.private import train_denoiser
from dpib_plugins.diffusion.sampling import in_batches
from dpib_plugins.latent.ddpm import ddim, loss_rows, times_at
from dpib_plugins.latent.pretraining import learn_latents, pretrained
from dpib_plugins.latent.settings import LatentConfig

_FIRST_FACTOR = 1e-6
"""Share of the step size that the first update makes where it rises."""


class LatentDiffusion(Synthesizer):
    """A class-conditional diffusion model of the latents of a public autoencoder, of which DP-SGD trains a part.

    A method says which part: ``trainable``.

    Attributes:
        codec: the autoencoder; it never changes after the public training.
        shares: the noise schedule ā, float64 (1000,).
        network: the denoiser; after ``fit`` it holds the averaged weights.
    """

    Config = LatentConfig
    config: LatentConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        with context.seeds.init("network"):
            codec, network, self.shares = self.config.models(task)
        self.codec = codec.to(context.device).eval().requires_grad_(False)
        self.network = network.to(context.device)
        self._samplings = 0

    @abstractmethod
    def trainable(self) -> list[nn.Parameter]:
        """Prepare the network for the private stage and return the parameters that DP-SGD trains."""

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Learn autoencoder, scale of its latents, and denoiser from public images."""
        if self.config.backbone:
            raise ConfigError("A backbone is pretrained already: drop --public, or drop backbone.")
        self.codec, self.network = pretrained(self.config, self.task, public.data, context)

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Learn from released images, from the weights the denoiser has; the autoencoder stays."""
        config = self.config
        learn_latents(
            self.network,
            self.codec,
            self.shares,
            images.data,
            name="warm up denoiser",
            schedule=config.warm_up_schedule(),
            context=context,
            augment=changed_at_random if config.warm_up_augment else None,
        )

    def fit(self, private: PrivateDataset) -> None:
        """Train what ``trainable`` chooses with DP-SGD, on the whole budget."""
        config, label = self.config, "denoiser"
        with self.context.seeds.init("adapter"):
            chosen = train_only(self.network, self.trainable())
        adam = torch.optim.AdamW(chosen, config.learning_rate)
        train_denoiser(
            private,
            self.network,
            self.loss,
            label=label,
            settings=config,
            optimizer=adam,
            pool=self.noise_pool(label),
            schedule=_rising(adam, config.learning_rate_rise),
        )

    def noise_pool(self, name: str) -> NoisePool:
        """Return the public noise that the private stage draws from: latents, for records that are images."""
        config = self.config
        return NoisePool(
            name,
            self.context,
            self.task.shape,
            size=config.noise_pool,
            copies=config.noise_multiplicity,
            dropout=0.0,
            null=0,
            noise_shape=self.codec.latent_shape,
            levels=times_at,
        )

    def loss(self, pool: NoisePool, images: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B·K,) of records uint8 (B, C, H, W) with labels (B,), K noised copies of each.

        Images are encoded here, each by itself, without gradient; their latents are kept nowhere.
        """
        noise, times, labels = pool.draw(images, labels)
        clean = self.codec.encode(scaled(images)).repeat_interleave(self.config.noise_multiplicity, dim=0)
        return loss_rows(self.network, clean, noise, times, labels, self.shares)

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label; continues where an earlier process was stopped."""
        self._samplings += 1
        name = "sample images" if self._samplings == 1 else f"sample images {self._samplings}"
        self.network.eval()
        return in_batches(self._draw, labels, self.task.shape, name, self.config.sampling_batch, self.context)

    def _draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        start = torch.randn((len(labels), *self.codec.latent_shape), generator=generator).to(labels.device)

        def predict(x: Tensor, times: Tensor) -> Tensor:
            return cast(Tensor, self.network(x, times, labels))

        config = self.config
        latents = ddim(predict, start, config.sampling_steps, config.eta, generator, self.shares)
        return to_uint8(self.codec.decode(latents))


def _rising(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LinearLR | None:
    return torch.optim.lr_scheduler.LinearLR(optimizer, _FIRST_FACTOR, total_iters=steps) if steps else None
