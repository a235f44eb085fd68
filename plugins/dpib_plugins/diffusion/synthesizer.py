"""What every method on a pixel-space diffusion model has: public training, DP-SGD, sampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpib.api import (
    LabelledImages,
    MethodConfig,
    PrivateDataset,
    PublicDataset,
    RunContext,
    Synthesizer,
    TaskInfo,
)
from dpib_plugins.diffusion.adapters import train_only
from dpib_plugins.diffusion.augment import changed_at_random
from dpib_plugins.diffusion.edm import loss_rows, scaled
from dpib_plugins.diffusion.noise import NoisePool
from dpib_plugins.diffusion.private import train_denoiser
from dpib_plugins.diffusion.public import Augment, PublicSchedule, learn_public, pretrained
from dpib_plugins.diffusion.sampling import sample_images
from dpib_plugins.diffusion.settings import DiffusionConfig, PretrainedDiffusionConfig


class DiffusionSynthesizer(Synthesizer):
    """A conditional diffusion model in pixel space, trained with DP-SGD from the weights it has.

    A method overrides ``trainable``, calls ``learn_public`` before ``fine_tune`` as it needs, and inherits the rest.

    Attributes:
        network: the U-Net; after a training it holds the averaged weights.
    """

    Config = DiffusionConfig
    config: DiffusionConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        with context.seeds.init("network"):
            self.network = self.config.network(task).to(context.device)
        self._samplings = 0

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that DP-SGD trains; all others are frozen. Here: all."""
        return list(self.network.parameters())

    def learn_public(
        self,
        images: PublicDataset | LabelledImages,
        *,
        name: str,
        schedule: PublicSchedule,
        context: RunContext,
        augment: Augment | None = None,
    ) -> None:
        """Train all parameters without privacy, on public or released images; see ``public.learn_public``."""
        data = images.data if isinstance(images, PublicDataset) else images
        levels = self.config.levels()
        learn_public(self.network, data, name=name, schedule=schedule, levels=levels, context=context, augment=augment)

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Learn from released images, from the weights the network has."""
        config = self.config
        schedule = PublicSchedule(
            steps=config.warm_up_steps,
            batch_size=config.warm_up_batch,
            learning_rate=config.warm_up_learning_rate,
            averaging=config.averaging,
            label_dropout=config.label_dropout,
        )
        augment = changed_at_random if config.warm_up_augment else None
        self.learn_public(images, name="warm up denoiser", schedule=schedule, context=context, augment=augment)

    def fit(self, private: PrivateDataset) -> None:
        """Train with DP-SGD."""
        self.fine_tune(private)

    def fine_tune(self, private: PrivateDataset, *, label: str = "denoiser") -> None:
        """Train what ``trainable`` chooses with DP-SGD, on all budget that is left, with a moving average of its own.

        Args:
            private: the records.
            label: of the charge, unique in the run.
        """
        adam = torch.optim.Adam(train_only(self.network, self.trainable()), self.config.learning_rate)
        pool = self.noise_pool(label)
        train_denoiser(private, self.network, self.loss, label=label, settings=self.config, optimizer=adam, pool=pool)

    def noise_pool(self, name: str) -> NoisePool:
        """Return the public noise that a private stage of this name draws from."""
        config = self.config
        return NoisePool(
            name,
            self.context,
            self.task.shape,
            size=config.noise_pool,
            copies=config.noise_multiplicity,
            dropout=config.label_dropout,
            null=self.task.n_classes,
            levels=config.levels().at,
        )

    def loss(self, pool: NoisePool, images: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B·K,) of records uint8 (B, C, H, W) with labels (B,), K noised copies of each."""
        noise, sigma, labels = pool.draw(images, labels)
        clean = scaled(images).repeat_interleave(self.config.noise_multiplicity, dim=0)
        return loss_rows(self.network, clean, noise, sigma, labels)

    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label; continues where an earlier process was stopped."""
        self._samplings += 1
        name = "sample images" if self._samplings == 1 else f"sample images {self._samplings}"
        config = self.config
        return sample_images(
            self.network, labels, config.image_sampler(), self.task.shape, name, config.sampling_batch, self.context
        )


class PretrainedDiffusion(DiffusionSynthesizer):
    """The same, from weights that were learnt from public images."""

    Config = PretrainedDiffusionConfig
    config: PretrainedDiffusionConfig

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Learn from public images, from weights that the pretraining's own seed gives."""
        self.network = pretrained(self.config, self.task, public.data, context)
