"""The private critics: how one learns from its part, and what it says of generated images. All of it is private."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dpib.api import MethodConfig
from dpib_plugins.gs_wgan.networks import Critic, Generator, coins

Shape = tuple[int, int, int]
Fakes = Callable[[Tensor], Tensor]
"""Maps labels int64 (N,) to generated images (N, C, H, W) in [0, 1] without gradient."""


class CriticConfig(MethodConfig):
    """Settings of the critics and of the throw-away generators that they are warmed up against."""

    critic_width: int = Field(default=64, ge=1, description="channels of a critic's first layer")
    critic_steps: int = Field(default=5, ge=1, description="critic updates per generator update")
    critic_batch: int = Field(
        default=32, ge=1, description="records of a part per critic update, drawn with replacement"
    )
    gradient_penalty: float = Field(default=10.0, ge=0, description="weight of (|gradient| - 1)²")
    drift_penalty: float = Field(default=1e-3, ge=0, description="weight of the squared score of real images")
    learning_rate: float = Field(default=1e-4, gt=0, description="step size of Adam, critics and generators")
    warm_up_steps: int = Field(default=2_000, ge=0, description="throw-away generator updates before the first answer")
    warm_up_width: int = Field(default=256, ge=1, description="channels of the throw-away generator's blocks")
    z_dim: int = Field(default=10, ge=1, description="coin flips that a generated image starts from")


class CriticTrainer:
    """One critic with its optimizer.

    Args:
        shape: of an image.
        n_classes: K.
        config: settings.
        device: torch device.
        state: what ``state`` returned earlier; None for a new critic, initialised from torch's global generator.
    """

    def __init__(
        self, shape: Shape, n_classes: int, config: CriticConfig, device: str, state: Mapping[str, Any] | None = None
    ) -> None:
        self._config = config
        self.critic = Critic(shape, n_classes, config.critic_width).to(device).train()
        self.adam = adam(self.critic, config)
        if state is not None:
            self.critic.load_state_dict(state["critic"])
            self.adam.load_state_dict(state["adam"])

    def state(self) -> dict[str, Any]:
        """Return everything that changes from update to update."""
        return {"critic": self.critic.state_dict(), "adam": self.adam.state_dict()}

    def update(self, images: Tensor, labels: Tensor, fakes: Fakes) -> None:
        """Make ``critic_steps`` updates, each on fresh real images and as many generated ones of their labels.

        Args:
            images: uint8 (n, C, H, W), n ≥ 1.
            labels: int64 (n,).
            fakes: makes the generated ones.
        """
        for _ in range(self._config.critic_steps):
            chosen = torch.randint(len(labels), (self._config.critic_batch,)).to(labels.device)
            real, label = images[chosen].float() / 255, labels[chosen]
            loss = self._loss(real, fakes(label), label)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()

    def _loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """Return the critic's Wasserstein loss with gradient and drift penalty (Gulrajani et al. 2017)."""
        n = len(labels)
        share = torch.rand(n, 1, 1, 1).to(real)
        between = (share * real + (1 - share) * fake).requires_grad_()
        on_real, on_fake, on_between = self.critic(torch.cat([real, fake, between]), labels.repeat(3)).split(n)
        (slope,) = torch.autograd.grad(on_between.sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        drift = on_real.square().mean()
        config = self._config
        return on_fake.mean() - on_real.mean() + config.gradient_penalty * penalty + config.drift_penalty * drift

    def advice(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of -D(x, y) averaged over the batch, with respect to every image x: float (B, C·H·W)."""
        images = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(-self.critic(images, labels).mean(), images)
        return gradient.flatten(1)


class GeneratorOpponent:
    """A generator with its optimizer: the throw-away one of a warm-up, or the one trained on public images."""

    def __init__(self, generator: Generator, config: CriticConfig) -> None:
        self.generator = generator.train()
        self.adam = adam(generator, config)

    @torch.no_grad()
    def fakes(self, labels: Tensor) -> Tensor:
        """Return images of these labels."""
        return self.generator(coins(len(labels), self.generator.z_dim).to(labels.device), labels)

    def update(self, labels: Tensor, trainer: CriticTrainer) -> None:
        """Follow the critic's exact advice on a batch of these labels."""
        images = self.generator(coins(len(labels), self.generator.z_dim).to(labels.device), labels)
        self.adam.zero_grad()
        images.backward(trainer.advice(images, labels).view_as(images))
        self.adam.step()


class Critics:
    """The ``PartModel`` of GS-WGAN. Holds settings only; what a critic learns is in its state.

    Args:
        shape: of an image.
        n_classes: K.
        config: settings.
        device: torch device.
    """

    def __init__(self, shape: Shape, n_classes: int, config: CriticConfig, device: str) -> None:
        self._shape, self._n_classes, self._config, self._device = shape, n_classes, config, device

    def warm_up(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Train a critic on its part against a throw-away generator of its own."""
        config = self._config
        trainer = CriticTrainer(self._shape, self._n_classes, config, self._device)
        generator = Generator(self._shape, self._n_classes, config.warm_up_width, config.z_dim).to(self._device)
        opponent = GeneratorOpponent(generator, config)
        for _ in range(config.warm_up_steps):
            trainer.update(images, labels, opponent.fakes)
            opponent.update(torch.randint(self._n_classes, (config.critic_batch,)).to(self._device), trainer)
        return trainer.state()

    def respond(
        self, state: dict[str, Any], images: Tensor, labels: Tensor, query: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        """Update the critic on its part and the step's pool of fakes, then advise on the step's batch.

        Args:
            state: of this critic.
            images: the records of its part.
            labels: theirs.
            query: ``images`` (B, C, H, W) with ``labels`` (B,), and ``pool`` (P, C, H, W), whose labels go round
                0..K-1; P is a multiple of K.
        """
        trainer = CriticTrainer(self._shape, self._n_classes, self._config, self._device, state)
        pool, k = query["pool"], self._n_classes

        def of_pool(label: Tensor) -> Tensor:
            return pool[label + k * torch.randint(len(pool) // k, label.shape).to(label.device)]

        trainer.update(images, labels, of_pool)
        return trainer.state(), trainer.advice(query["images"], query["labels"])


def adam(module: torch.nn.Module, config: CriticConfig) -> torch.optim.Adam:
    """Return the optimizer of critics and generators (Chen, Orekondy, Fritz 2020)."""
    return torch.optim.Adam(module.parameters(), config.learning_rate, betas=(0.5, 0.9))
