"""DP-MERF: a generator fitted to one noisy mean embedding.

Idea: Random Fourier features turn the distribution of every class into a vector, its mean embedding. That vector is
released once with noise; a generator is then trained so that its images have the same embedding.

Paper: Harder, Adamczewski, Park (AISTATS 2021), sections 3 and 4; settings from DPImageBench (2025), appendix C.

Released: S = Σ φ(x) e_yᵀ over all records plus N(0, σ²) on its K·D entries, once, with the whole remaining budget.
|φ(x)| = 1 and a record enters one row, so the L2 sensitivity under add-or-remove-one is 1. Everything after the
release is post-processing.

Public: image shape, classes, the nominal size N₀ that divides the sum, and the frequencies, drawn from the run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpib.api import MethodConfig, PrivateDataset, PublicDataset, RunContext, Synthesizer, TaskInfo
from dpib_plugins.dp_merf.features import FourierFeatures, sum_by_class
from dpib_plugins.nets.generators import ResidualGenerator
from dpib_plugins.nets.rendering import precision, render, settle_batch_norm

_SETTLING_BATCHES = 20


class DpMerfConfig(MethodConfig):
    """Hyper-parameters; defaults are the published ones."""

    n_features: int = Field(default=10_000, ge=2, multiple_of=2, description="D: a cosine and a sine per frequency")
    squared_length_scale: float = Field(default=105.0, gt=0, description="s of the kernel exp(-|x-y|²/2s), pixels 0..1")
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


class DpMerf(Synthesizer):
    """Matches the noisy mean random-feature embedding of every class."""

    Config = DpMerfConfig
    config: DpMerfConfig

    def __init__(self, config: DpMerfConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        with context.seeds.init("generator"):
            generator = ResidualGenerator(
                task.shape, task.n_classes, config.g_conv_dim, use_spectral_norm=config.spectral_norm
            )
        self.generator = generator.to(memory_format=torch.channels_last).to(context.device)

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Fit the generator to the exact embedding of public images."""
        features = self._features(context)
        data = public.data
        batches = zip(data.images.split(1000), data.labels.split(1000), strict=True)

        def embed() -> Tensor:
            total = torch.zeros(self.task.n_classes, self.config.n_features)
            for images, labels in batches:
                total += sum_by_class(features.of_bytes(images.to(context.device), labels).cpu(), labels, len(total))
            return total / len(data)

        target = context.once("public embedding", embed)
        self._match("pretrain generator", target, features, data.labels.unique(), self.config.pretrain_steps, context)

    def fit(self, private: PrivateDataset) -> None:
        """Release the noisy embedding, then fit the generator to it."""
        features = self._features(self.context)
        total = self.context.once(
            "embedding",
            lambda: private.noisy_sum(features.of_bytes, label="class embeddings", clipping_norm=1.0, by_class=True),
        )
        target = total / self.task.nominal_size
        self._match("fit generator", target, features, torch.arange(len(target)), self.config.steps, self.context)

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        device = self.context.device
        noise = self._noise(len(labels), self.context.seeds.torch("generate"))
        with precision(device, self.config.bfloat16):
            return render(self.generator.eval(), noise, labels, device)

    def _features(self, context: RunContext) -> FourierFeatures:
        n_pixels = torch.Size(self.task.shape).numel()
        n_features, scale = self.config.n_features, self.config.squared_length_scale
        return FourierFeatures(n_pixels, n_features, scale, context.seeds.torch("frequencies"), context.device)

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.generator.z_dim, generator=generator)

    def _match(
        self, name: str, target: Tensor, features: FourierFeatures, classes: Tensor, steps: int, context: RunContext
    ) -> None:
        """Minimise |target - (1/B) Σ φ(G(z, y)) e_yᵀ|² over the generator; ``target`` is (K, D)."""
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
            mean = sum_by_class(features(images), labels, len(target)) / batch
            adam.zero_grad()
            (target - mean).square().sum().backward()
            adam.step()
            average.update_parameters(generator)
        generator.load_state_dict(average.module.state_dict())
        n_images = _SETTLING_BATCHES * batch
        noise = self._noise(n_images, context.seeds.torch(name, steps)).to(device)
        with precision(device, config.bfloat16):
            settle_batch_norm(generator, noise.split(batch), cycle(0, n_images).split(batch))
