"""DP-GAN: a generator taught by a discriminator that was trained with DP-SGD.

Idea: only the discriminator sees records, through clipped and noised gradients. The generator learns from it, so it
is post-processing.

Paper: Xie, Lin, Wang, Wang, Zhou (2018); hinge loss, networks and settings from DPImageBench (2025), appendix B.2.

Released: in each of T steps, over a Poisson sample, the sum of per-record gradients of
relu(1 - D(x, y)) + relu(1 + D(x', y')), clipped jointly to C, plus N(0, (σC)²). The generated x' is found by a public
hash of the record in a pool drawn from public randomness, so that a record moves its own term alone: sensitivity C
under add-or-remove-one.

Public: image shape, classes, the nominal size N₀ that sets the sample rate and the divisor, initial weights, the noise
vectors and labels of generated images and the hash, from the run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dpib.api import (
    DpSgdPlan,
    LabelledImages,
    MethodConfig,
    PrivateDataset,
    PublicDataset,
    RunContext,
    Synthesizer,
    TaskInfo,
)
from dpib_plugins.dp_gan.fakes import FakePool
from dpib_plugins.dp_gan.opponent import Opponent, OpponentConfig
from dpib_plugins.nets.discriminators import ProjectionDiscriminator
from dpib_plugins.nets.generators import ResidualGenerator
from dpib_plugins.nets.rendering import precision, render


class DpGanConfig(OpponentConfig):
    """Hyper-parameters; defaults are the published ones for MNIST."""

    g_conv_dim: int = Field(default=60, ge=2, description="a quarter of the generator's width")
    d_conv_dim: int = Field(default=80, ge=1, description="half of the discriminator's width")
    spectral_norm: bool = Field(default=True, description="normalise the generator's weights spectrally")
    label_spectral_norm: bool = Field(default=False, description="with the weights, normalise its label table too")
    steps: int = Field(default=2_196, ge=1, description="discriminator updates, all noised")
    batch_size: int = Field(default=4_096, ge=1, description="records expected in the Poisson sample of an update")
    clipping_norm: float = Field(default=1e-3, gt=0, description="L2 bound on a record's gradient")
    learning_rate: float = Field(default=5e-4, gt=0, description="discriminator: step size of Adam")
    fakes: int = Field(default=4_096, ge=1, description="generated images a discriminator update chooses from")
    physical_batch: int = Field(default=64, ge=1, description="records per backward pass: memory, not privacy")
    pretrain_steps: int = Field(default=200_182, ge=1, description="updates on public images, if there are any")
    pretrain_batch: int = Field(default=1_024, ge=1, description="public images per such update")
    warm_up_steps: int = Field(default=2_000, ge=1, description="updates on images that a prelude released")


class DpGan(Synthesizer):
    """A GAN whose discriminator is trained with DP-SGD."""

    Config = DpGanConfig
    config: DpGanConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        generator, discriminator = self._new_networks(context)
        self.discriminator = discriminator.to(context.device)
        self.generator = generator.to(memory_format=torch.channels_last).to(context.device)

    def _new_networks(self, context: RunContext) -> tuple[ResidualGenerator, ProjectionDiscriminator]:
        """Return both networks with the initial weights that the context's seeds give."""
        task, config = self.task, self.config
        with context.seeds.init("generator"):
            generator = ResidualGenerator(
                task.shape,
                task.n_classes,
                config.g_conv_dim,
                use_spectral_norm=config.spectral_norm,
                normalise_labels=config.label_spectral_norm,
            )
        with context.seeds.init("discriminator"):
            return generator, ProjectionDiscriminator(task.shape, task.n_classes, config.d_conv_dim)

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Play the same game on public images, without clipping and noise; fakes are no more than real images.

        It starts from weights that the pretraining's own seed gives.
        """
        generator, discriminator = self._new_networks(context)
        self.generator.load_state_dict(generator.state_dict())
        self.discriminator.load_state_dict(discriminator.state_dict())
        self._play("pretrain gan", public.data, self.config.pretrain_steps, context)

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Go on with that game on released images."""
        self._play("warm up gan", images.data, self.config.warm_up_steps, context)

    def _play(self, name: str, data: LabelledImages, steps: int, context: RunContext) -> None:
        batch = self.config.pretrain_batch
        sizes = {key: min(getattr(self.config, key), batch) for key in ("fakes", "generator_batch")}
        opponent = self._opponent(name, data.labels.unique(), self.config.model_copy(update=sizes), context)
        adam = self._adam()
        carry = opponent.carry | {"discriminator": self.discriminator, "discriminator adam": adam}
        for step in context.steps(name, steps, carry):
            chosen = torch.randint(len(data), (batch,), generator=context.seeds.torch(name, step))
            images, labels = data.images[chosen].to(context.device), data.labels[chosen].to(context.device)
            loss = self.hinge(opponent.pool, images, labels).mean()
            adam.zero_grad()
            loss.backward(inputs=list(self.discriminator.parameters()))
            adam.step()
            opponent.after_step(step)
        opponent.finish()

    def fit(self, private: PrivateDataset) -> None:
        """Train the discriminator with DP-SGD, the generator in between."""
        config = self.config
        plan = DpSgdPlan(
            steps=config.steps,
            sample_rate=min(1.0, config.batch_size / self.task.nominal_size),
            clipping_norm=config.clipping_norm,
        )
        opponent = self._opponent("fit gan", torch.arange(self.task.n_classes), config, self.context)
        private.train(
            self.discriminator,
            partial(self.hinge, opponent.pool),
            plan,
            label="discriminator",
            optimizer=self._adam(),
            physical_batch_size=config.physical_batch,
            after_step=opponent.after_step,
            carry=opponent.carry,
        )
        opponent.finish()

    def hinge(self, pool: FakePool, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each record and its partner in the pool, float (B,), for uint8 images (B, C, H, W)."""
        partners = pool.partners(images, labels)
        real = self.discriminator(images.float() / 127.5 - 1, labels)
        fake = self.discriminator(2 * pool.images[partners] - 1, pool.labels[partners])
        return F.relu(1 - real) + F.relu(1 + fake)

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        noise = torch.randn(len(labels), self.generator.z_dim, generator=self.context.seeds.torch("generate"))
        with precision(self.context.device, self.config.bfloat16):
            return render(self.generator.eval(), noise, labels, self.context.device)

    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.discriminator.parameters(), self.config.learning_rate, betas=(0.0, 0.999))

    def _opponent(self, name: str, classes: Tensor, config: DpGanConfig, context: RunContext) -> Opponent:
        pool = FakePool(self.task.shape, config.fakes).to(context.device)
        return Opponent(name, self.generator, self.discriminator, pool, classes, config, context)
