"""A generator whose images have given mean embeddings: what DP-MERF, DP-NTK and DP-Kernel share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpib.api import (
    LabelledImages,
    MethodConfig,
    OuterProducts,
    PrivateDataset,
    PublicDataset,
    RunContext,
    Synthesizer,
    TaskInfo,
)
from dpib_plugins.nets.generators import ResidualGenerator
from dpib_plugins.nets.labels import in_turn
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


@dataclass(frozen=True)
class Schedule:
    """How long the generator is trained.

    Attributes:
        steps: updates.
        decay_every: updates between two decays of the step size.
    """

    steps: int
    decay_every: int


class MatchingConfig(MethodConfig):
    """Settings of the generator and its training."""

    g_conv_dim: int = Field(default=60, ge=2, description="a quarter of the generator's width")
    spectral_norm: bool = Field(default=True, description="normalise the generator's weights spectrally")
    label_spectral_norm: bool = Field(default=False, description="with the weights, normalise its label table too")
    steps: int = Field(default=3_000, ge=1, description="generator updates")
    batch_size: int = Field(default=100, ge=1, description="generated images per update")
    generator_physical_batch: int = Field(
        default=625, ge=1, description="images generated at once: memory, and over what batch norm averages"
    )
    learning_rate: float = Field(default=1e-2, gt=0, description="step size of Adam")
    decay: float = Field(default=0.9, gt=0, le=1, description="factor on the step size")
    decay_every: int = Field(default=600, ge=1, description="updates between two such factors")
    averaging: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average of weights; 0: none")
    bfloat16: bool = Field(default=False, description="run the generator in bfloat16 where the processor is fast at it")
    pretrain_steps: int = Field(default=12_811, ge=1, description="updates on public images, if there are any")
    pretrain_decay_every: int = Field(
        default=12_811, ge=1, description="updates on public or released images between two such factors"
    )
    warm_up_steps: int = Field(default=2_000, ge=1, description="updates on images that a prelude released")


class MeanEmbedding(Synthesizer):
    """Releases Σ φ(x) e_yᵀ once with noise and fits a generator to it.

    |φ(x)| ≤ 1 and a record enters one row: the L2 sensitivity of the sum under add-or-remove-one is 1.
    """

    Config = MatchingConfig
    config: MatchingConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        self.generator = self._new_generator(context).to(memory_format=torch.channels_last).to(context.device)

    def _new_generator(self, context: RunContext) -> ResidualGenerator:
        """Return a generator with the initial weights that the context's seeds give."""
        with context.seeds.init("generator"):
            return ResidualGenerator(
                self.task.shape,
                self.task.n_classes,
                self.config.g_conv_dim,
                use_spectral_norm=self.config.spectral_norm,
                normalise_labels=self.config.label_spectral_norm,
            )

    @abstractmethod
    def features(self, context: RunContext) -> FeatureMap:
        """Return φ, drawn from public randomness."""

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Fit the generator, from weights of the pretraining's own seed, to the exact embedding of public images."""
        self.generator.load_state_dict(self._new_generator(context).state_dict())
        self._match_exactly("pretrain generator", public.data, self.config.pretrain_steps, context)

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Fit the generator, from the weights it has, to the exact embedding of released images."""
        self._match_exactly("warm up generator", images.data, self.config.warm_up_steps, context)

    def _match_exactly(self, name: str, data: LabelledImages, steps: int, context: RunContext) -> None:
        features = self.features(context)

        @torch.no_grad()
        def embed() -> Tensor:
            batches = zip(data.images.split(_PUBLIC_BATCH), data.labels.split(_PUBLIC_BATCH), strict=True)
            sums = (
                features.sums(images.to(context.device) / 255, labels.to(context.device), self.task.n_classes).cpu()
                for images, labels in batches
            )
            return reduce(torch.add, sums) / len(data)

        target = context.once("public embedding", embed)
        schedule = Schedule(steps, self.config.pretrain_decay_every)
        self._match(name, lambda _: (features, target), data.labels.unique(), schedule, context)

    def fit(self, private: PrivateDataset) -> None:
        """Release the noisy embedding, then fit the generator to it."""
        features = self.features(self.context)
        total = self.context.once(
            "embedding",
            lambda: private.noisy_sum(features.of_bytes, label="class embeddings", clipping_norm=1.0, by_class=True),
        )
        target = total / self.task.nominal_size
        self._fit_generator(lambda _: (features, target))

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        device = self.context.device
        noise = self._noise(len(labels), self.context.seeds.torch("generate"))
        with precision(device, self.config.bfloat16):
            return render(self.generator.eval(), noise, labels, device)

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.generator.z_dim, generator=generator)

    def _fit_generator(self, goal: Goal) -> None:
        """Fit the generator to what was released of the private images."""
        schedule = Schedule(self.config.steps, self.config.decay_every)
        self._match("fit generator", goal, torch.arange(self.task.n_classes), schedule, self.context)

    def _match(self, name: str, goal: Goal, classes: Tensor, schedule: Schedule, context: RunContext) -> None:
        """Minimise |target - (1/B) Σ φ(G(z, y)) e_yᵀ|² over the generator; ``goal`` gives φ and the target."""
        config, generator, device = self.config, self.generator.train(), context.device
        batch, classes = config.batch_size, classes.to(device)
        adam = torch.optim.Adam(generator.parameters(), config.learning_rate)
        average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
        for step in context.steps(name, schedule.steps, {"generator": generator, "adam": adam, "average": average}):
            adam.param_groups[0]["lr"] = config.learning_rate * config.decay ** (step // schedule.decay_every)
            noise = self._noise(batch, context.seeds.torch(name, step)).to(device)
            adam.zero_grad()
            self._accumulate(*goal(step), noise, in_turn(classes, step * batch, batch))
            adam.step()
            average.update_parameters(generator)
        generator.load_state_dict(average.module.state_dict())
        n_images, part = _SETTLING_BATCHES * batch, min(batch, config.generator_physical_batch)
        noise = self._noise(n_images, context.seeds.torch(name, schedule.steps)).to(device)
        with precision(device, config.bfloat16):
            settle_batch_norm(generator, noise.split(part), in_turn(classes, 0, n_images).split(part))

    def _accumulate(self, features: FeatureMap, target: Tensor, noise: Tensor, labels: Tensor) -> None:
        """Add up the gradient of the squared distance, a part of the batch at a time.

        The distance is that of the whole batch's mean. Where the batch has several parts, a first pass without
        gradient finds that mean; batch norm averages over a part.
        """
        size = self.config.generator_physical_batch
        parts = list(zip(noise.split(size), labels.split(size), strict=True))

        def share(some_noise: Tensor, some_labels: Tensor) -> Tensor:
            with precision(noise.device.type, self.config.bfloat16):
                images = self.generator(some_noise, some_labels)
            return features.sums(images, some_labels, len(target)) / len(labels)

        if len(parts) == 1:
            mean = share(noise, labels)
            mean.backward(2 * (mean.detach() - target))
            return
        with torch.no_grad():
            slope = 2 * (reduce(torch.add, (share(*part) for part in parts)) - target)
        for part in parts:
            share(*part).backward(slope)
