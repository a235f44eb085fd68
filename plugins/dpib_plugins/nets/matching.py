"""A generator whose images have given mean embeddings: what DP-MERF, DP-NTK and DP-Kernel share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpib.api import MethodConfig, OuterProducts, PrivateDataset, PublicDataset, RunContext, Synthesizer, TaskInfo
from dpib_plugins.nets.generators import ResidualGenerator
from dpib_plugins.nets.rendering import precision, render, settle_batch_norm

_SETTLING_BATCHES = 20
_PUBLIC_BATCH = 1000


class FeatureMap(Protocol):
    """A public map φ from images to vectors of norm at most 1."""

    def of_bytes(self, images: Tensor, labels: Tensor) -> Tensor | OuterProducts:
        """Map uint8 images (B, C, H, W) to rows φ(x), as a statistic."""

    def sums(self, images: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        """Map float images in 0..1 to (K, D): row k is the sum of φ(x) over label k; differentiable in the images."""


Goal = Callable[[int], tuple[FeatureMap, Tensor]]
"""Maps a step to the features it compares by and the mean embedding (K, D) its images should have."""


class MatchingConfig(MethodConfig):
    """Settings of the generator and its training."""

    g_conv_dim: int = Field(default=60, ge=2, description="a quarter of the generator's width")
    spectral_norm: bool = Field(default=True, description="normalise the generator's weights spectrally")
    steps: int = Field(default=2750, ge=1, description="generator updates")
    batch_size: int = Field(default=100, ge=1, description="generated images per update")
    learning_rate: float = Field(default=1e-2, gt=0, description="step size of Adam")
    decay: float = Field(default=0.9, gt=0, le=1, description="factor on the step size")
    decay_every: int = Field(default=550, ge=1, description="updates between two such factors")
    averaging: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average of weights; 0: none")
    bfloat16: bool = Field(default=False, description="run the generator in mixed precision")
    pretrain_steps: int = Field(default=12_811, ge=1, description="updates on public images, if there are any")


class MeanEmbedding(Synthesizer):
    """Releases Σ φ(x) e_yᵀ once with noise and fits a generator to it.

    |φ(x)| ≤ 1 and a record enters one row: the L2 sensitivity of the sum under add-or-remove-one is 1.
    """

    Config = MatchingConfig
    config: MatchingConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        with context.seeds.init("generator"):
            generator = ResidualGenerator(
                task.shape, task.n_classes, self.config.g_conv_dim, use_spectral_norm=self.config.spectral_norm
            )
        self.generator = generator.to(memory_format=torch.channels_last).to(context.device)

    @abstractmethod
    def features(self, context: RunContext) -> FeatureMap:
        """Return φ, drawn from public randomness."""

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Fit the generator to the exact embedding of public images."""
        features, data = self.features(context), public.data

        @torch.no_grad()
        def embed() -> Tensor:
            batches = zip(data.images.split(_PUBLIC_BATCH), data.labels.split(_PUBLIC_BATCH), strict=True)
            parts = [
                features.sums(images.to(context.device) / 255, labels.to(context.device), self.task.n_classes).cpu()
                for images, labels in batches
            ]
            return torch.stack(parts).sum(0) / len(data)

        target = context.once("public embedding", embed)
        classes, steps = data.labels.unique(), self.config.pretrain_steps
        self._match("pretrain generator", lambda _: (features, target), classes, steps, context)

    def fit(self, private: PrivateDataset) -> None:
        """Release the noisy embedding, then fit the generator to it."""
        features = self.features(self.context)
        total = self.context.once(
            "embedding",
            lambda: private.noisy_sum(features.of_bytes, label="class embeddings", clipping_norm=1.0, by_class=True),
        )
        target = total / self.task.nominal_size
        classes, steps = torch.arange(len(target)), self.config.steps
        self._match("fit generator", lambda _: (features, target), classes, steps, self.context)

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        device = self.context.device
        noise = self._noise(len(labels), self.context.seeds.torch("generate"))
        with precision(device, self.config.bfloat16):
            return render(self.generator.eval(), noise, labels, device)

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.generator.z_dim, generator=generator)

    def _match(self, name: str, goal: Goal, classes: Tensor, steps: int, context: RunContext) -> None:
        """Minimise |target - (1/B) Σ φ(G(z, y)) e_yᵀ|² over the generator; ``goal`` gives φ and the target."""
        config, generator, device = self.config, self.generator.train(), context.device
        batch = config.batch_size

        def cycle(start: int, n: int) -> Tensor:
            return classes[torch.arange(start, start + n) % len(classes)].to(device)

        adam = torch.optim.Adam(generator.parameters(), config.learning_rate)
        average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
        for step in context.steps(name, steps, {"generator": generator, "adam": adam, "average": average}):
            adam.param_groups[0]["lr"] = config.learning_rate * config.decay ** (step // config.decay_every)
            labels = cycle(step * batch, batch)
            noise = self._noise(batch, context.seeds.torch(name, step)).to(device)
            with precision(device, config.bfloat16):
                images = generator(noise, labels)
            features, target = goal(step)
            mean = features.sums(images, labels, len(target)) / batch
            adam.zero_grad()
            (target - mean).square().sum().backward()
            adam.step()
            average.update_parameters(generator)
        generator.load_state_dict(average.module.state_dict())
        n_images = _SETTLING_BATCHES * batch
        noise = self._noise(n_images, context.seeds.torch(name, steps)).to(device)
        with precision(device, config.bfloat16):
            settle_batch_norm(generator, noise.split(batch), cycle(0, n_images).split(batch))
