"""The generator's side of the game: it sees the noised discriminator and public randomness, never a record."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from dpib.api import MethodConfig, RunContext
from dpib_plugins.dp_gan.fakes import FakePool
from dpib_plugins.nets.averaging import moving_average
from dpib_plugins.nets.generators import ResidualGenerator
from dpib_plugins.nets.labels import in_turn
from dpib_plugins.nets.rendering import precision, settle_batch_norm

_SETTLING_BATCHES = 20
_SETTLING_BATCH = 100


class OpponentConfig(MethodConfig):
    """Settings of the generator's training."""

    generator_batch: int = Field(default=4_096, ge=1, description="generated images per generator update")
    generator_physical_batch: int = Field(
        default=128, ge=1, description="images generated at once: memory, and over what batch norm averages"
    )
    generator_learning_rate: float = Field(default=2e-4, gt=0, description="generator: step size of Adam")
    discriminator_steps: int = Field(default=5, ge=1, description="discriminator updates per generator update")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the generator's moving average")
    bfloat16: bool = Field(default=False, description="run the generator in bfloat16 where the processor is fast at it")


class Opponent:
    """Steps the generator and refills the pool of fakes after updates of the discriminator.

    Args:
        name: of the loop; addresses its public randomness.
        generator: is trained.
        discriminator: judges; is not changed.
        pool: is filled at once, and after every step.
        classes: labels of generated images, int64 (K,); they go round from step to step.
        config: settings.
        context: device and public randomness.
    """

    def __init__(
        self,
        name: str,
        generator: ResidualGenerator,
        discriminator: nn.Module,
        pool: FakePool,
        classes: Tensor,
        config: OpponentConfig,
        context: RunContext,
    ) -> None:
        self._name, self._config, self._context = name, config, context
        self._classes = classes.to(context.device)
        self._generator, self._discriminator, self.pool = generator.train(), discriminator, pool
        self._adam = torch.optim.Adam(generator.parameters(), config.generator_learning_rate, betas=(0.0, 0.999))
        self._average = moving_average(generator, config.averaging)
        self.carry: dict[str, nn.Module | torch.optim.Optimizer] = {
            "generator": generator,
            "adam": self._adam,
            "average": self._average,
            "fakes": pool,
        }
        self._refill(0)

    def after_step(self, step: int) -> None:
        """Answer update number ``step`` of the discriminator."""
        if (step + 1) % self._config.discriminator_steps == 0:
            self._update(step)
        self._refill(step + 1)

    def finish(self) -> None:
        """Put the averaged weights into the generator, with batch-norm statistics of their own."""
        self._generator.load_state_dict(self._average.module.state_dict())
        labels = in_turn(self._classes, 0, _SETTLING_BATCHES * _SETTLING_BATCH)
        noise = self._noise("settle", 0, len(labels))
        with precision(self._context.device, self._config.bfloat16):
            settle_batch_norm(self._generator, noise.split(_SETTLING_BATCH), labels.split(_SETTLING_BATCH))

    def _update(self, step: int) -> None:
        n = self._config.generator_batch
        labels = in_turn(self._classes, step // self._config.discriminator_steps * n, n)
        self._adam.zero_grad()
        for noise, some in self._parts(self._noise("generator", step, n), labels):
            loss = -self._discriminator(2 * self._generated(noise, some) - 1, some).sum() / n
            loss.backward(inputs=list(self._generator.parameters()))
        self._adam.step()
        self._average.update_parameters(self._generator)

    @torch.no_grad()
    def _refill(self, step: int) -> None:
        n = len(self.pool.images)
        labels = in_turn(self._classes, step * n, n)
        images = [self._generated(*part) for part in self._parts(self._noise("fakes", step, n), labels)]
        self.pool.refill(torch.cat(images), labels, self._context.seeds.torch(f"{self._name} pairing", step))

    def _generated(self, noise: Tensor, labels: Tensor) -> Tensor:
        with precision(self._context.device, self._config.bfloat16):
            images: Tensor = self._generator(noise, labels)
        return images

    def _parts(self, noise: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = self._config.generator_physical_batch
        return list(zip(noise.split(size), labels.split(size), strict=True))

    def _noise(self, purpose: str, step: int, n: int) -> Tensor:
        generator = self._context.seeds.torch(f"{self._name} {purpose}", step)
        return torch.randn(n, self._generator.z_dim, generator=generator).to(self._context.device)
