"""Private Evolution: a population of generated images that private images vote on, without any training.

Idea: a generator that has never seen private data makes images and variations of images. Every private image votes for
the nearest of its class; the noisy votes choose whose variations form the next population.

Paper: Lin, Gopi, Kulkarni, Nori, Yekhanin (ICLR 2024); the simulator after Lin, Baltrušaitis, Yekhanin (2025);
settings from DPImageBench (2025).

Released: per iteration one histogram of votes over all classes and candidates, plus N(0, σ²k) on its K·P entries,
charged for all T iterations at once. A record votes for k different candidates of its own class, one vote each: its
row has k ones, L2 norm √k, and adding or removing the record moves the histogram by this row. Everything after a
release is post-processing, the lookahead before it is public.

Public: image shape, classes, the population's size, and everything the generator knows.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dpib.api import (
    ConfigError,
    MethodConfig,
    PluginError,
    PrivateDataset,
    PublicDataset,
    RunContext,
    Synthesizer,
    TaskInfo,
)
from dpib_plugins.diffusion.edm import denoise
from dpib_plugins.diffusion.public import pretrained
from dpib_plugins.diffusion.samplers import SIGMA_MAX, SIGMA_MIN, Sampler
from dpib_plugins.diffusion.settings import PretrainingConfig
from dpib_plugins.pe.features import feature_map, on_grid
from dpib_plugins.pe.own import OwnDiffusion
from dpib_plugins.pe.pipelines import DiffusersApi
from dpib_plugins.pe.protocol import ImageApi, Samples
from dpib_plugins.pe.simulator import Simulator
from dpib_plugins.pe.voting import choose_parents, vote_rows

IMAGENET64_URL = "https://openaipublic.blob.core.windows.net/diffusion/march-2021/imagenet64_cond_270M_250K.pt"
"""The paper's generator, class-conditional improved diffusion. Its SHA-256 is not published and nobody here has it."""

Degrees = tuple[Annotated[float, Field(gt=0, le=1)], ...]

_NEEDS_PUBLIC = "api = 'own-diffusion' learns from public images first: add --public DATASET."

FeatureMap = Callable[[Tensor], Tensor]
"""Maps uint8 images (N, C, H, W) to features (N, D)."""

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as image libraries make grey."""


class PeConfig(MethodConfig):
    """Hyper-parameters; defaults are the published ones for CIFAR-10."""

    api: Literal["imagenet64", "diffusers", "simulator", "own-diffusion"] = Field(
        default="imagenet64", description="generator of images and variations"
    )
    population_per_class: int = Field(default=6_000, ge=1, description="candidates of each class")
    degrees: Degrees = Field(
        default=(0.98, 0.96, 0.94, 0.92, 0.9),
        min_length=1,
        description="how much a variation makes anew, 0..1, one number per iteration",
    )
    lookahead: int = Field(
        default=8, ge=0, description="variations whose mean features stand for a candidate; 0: its own features"
    )
    nearest: int = Field(default=1, ge=1, description="candidates that a private image votes for")
    threshold: float = Field(
        default=1.7, ge=0, description="taken off every noisy count, in standard deviations of the noise"
    )
    features: Literal["pixels", "random-conv", "effnet-lite0", "inception"] = Field(
        default="inception", description="where images are compared"
    )
    feature_size: int = Field(default=299, ge=8, description="side in pixels that a feature network is given")
    sampling_steps: int = Field(default=100, ge=1, description="denoising steps of a whole generation")
    own_degrees: Degrees | None = Field(
        default=None, min_length=1, description="own-diffusion: takes the place of degrees; none: those are taken"
    )
    own_sampling_steps: int | None = Field(
        default=None, ge=1, description="own-diffusion: takes the place of sampling_steps; none: those are taken"
    )
    own_level_min: float = Field(
        default=SIGMA_MIN, gt=0, lt=SIGMA_MAX, description="own-diffusion: noise level at which sampling ends"
    )
    api_batch_size: int = Field(default=2_000, ge=1, description="images that a diffusion model makes at once")
    pipeline: str = Field(default="", description="diffusers: name on the Hugging Face Hub")
    revision: str = Field(default="", description="diffusers: commit of the pipeline's repository")
    prompt: str = Field(default="a photo of a {label}", description="diffusers: text, {label} is the class's name")
    diffusion: PretrainingConfig = Field(
        default_factory=PretrainingConfig, description="own-diffusion: network, and its training on public images"
    )
    glyph_size: float = Field(
        default=0.7, gt=0, le=1, description="simulator: longest side of a drawing as a share of the image's side"
    )

    def schedule(self) -> tuple[float, ...]:
        """Return the degrees that the generator is used with, one per iteration."""
        return (self.own_degrees if self.api == "own-diffusion" else None) or self.degrees

    def check_public(self, given: bool) -> None:
        """Refuse public images for a generator that learns nothing, and none for one that learns from them."""
        if given and self.api != "own-diffusion":
            raise ConfigError(
                f"api = '{self.api}' learns nothing from public images. "
                "Drop --public, or choose --variant own-diffusion."
            )
        if not given and self.api == "own-diffusion":
            raise ConfigError(_NEEDS_PUBLIC)

    def pretraining_basis(self, task: TaskInfo) -> dict[str, Any] | None:
        """Return network and public schedule, which diffusion methods share."""
        return self.diffusion.pretraining_basis(task) if self.api == "own-diffusion" else None


class PrivateEvolution(Synthesizer):
    """Evolves one population per declared class."""

    Config = PeConfig
    config: PeConfig
    warms_up = False

    def __init__(self, config: PeConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        if config.nearest > config.population_per_class:
            raise ConfigError(
                f"nearest = {config.nearest}: a private image cannot vote for more different candidates than the "
                f"{config.population_per_class} of population_per_class."
            )
        self._api: ImageApi | None = None if config.api == "own-diffusion" else _build_api(config, task, context.device)
        self._labels = torch.arange(task.n_classes).repeat_interleave(config.population_per_class)
        self._population = Samples(torch.zeros(0, *task.shape, dtype=torch.uint8), torch.zeros(0, 0))

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Train the generator on public images; only ``api = "own-diffusion"`` has one to train."""
        config = self.config
        config.check_public(given=True)
        self.network = pretrained(config.diffusion, self.task, public.data, context).eval()
        self._api = OwnDiffusion(
            partial(denoise, self.network),
            public.data.labels.unique(),
            self.task.shape,
            Sampler("euler", config.own_sampling_steps or config.sampling_steps, lowest=config.own_level_min),
            config.api_batch_size,
            self.context.device,
        )

    def fit(self, private: PrivateDataset) -> None:
        """Let private images vote, once per degree, and vary the winners."""
        config, seeds, degrees = self.config, self.context.seeds, self.config.schedule()
        api = self._generator()
        embed = feature_map(config.features, config.feature_size, self.context.device)
        plan = private.plan_noisy_sums(
            len(degrees), label="votes", clipping_norm=math.sqrt(config.nearest), by_class=True
        )
        threshold = config.threshold * plan.noise_multiplier * math.sqrt(config.nearest)
        start = self.context.once(
            "first population", lambda: api.random(self._labels, seeds.torch("first population")).state_dict()
        )
        population = Samples(start["images"].cpu(), start["codes"].cpu())
        for step in self.context.steps("evolve", len(degrees), {"population": population}):

            def votes(step: int = step) -> Tensor:
                candidates = self._candidates(population, step, embed)

                def rows(images: Tensor, labels: Tensor) -> Tensor:
                    return vote_rows(on_grid(embed(images)), labels, candidates, config.nearest)

                return plan.release(rows, index=step).cpu()

            histogram = self.context.once(f"votes {step}", votes)
            parents = choose_parents(histogram, threshold, seeds.torch("parents", step))
            places = (parents + config.population_per_class * torch.arange(self.task.n_classes)[:, None]).flatten()
            children = self._varied(population.take(places), self._labels, step, "children")
            population.load_state_dict(children.state_dict())
        self._population = population

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return the last population, class by class in its order; where more is asked for, variations of it."""
        labels, size = labels.cpu(), self.config.population_per_class
        ranks = torch.zeros_like(labels)
        for label in range(self.task.n_classes):
            mine = labels == label
            ranks[mine] = torch.arange(int(mine.sum()))
        samples, more = self._population.take(labels * size + ranks % size), ranks >= size
        images = self._fitted(samples.images)
        if bool(more.any()):
            last = len(self.config.schedule()) - 1
            images[more] = self._fitted(self._varied(samples.take(more), labels[more], last, "more").images)
        return images

    def _generator(self) -> ImageApi:
        if self._api is None:
            raise ConfigError(_NEEDS_PUBLIC)
        return self._api

    def _varied(self, samples: Samples, labels: Tensor, step: int, purpose: str, index: int = 0) -> Samples:
        generator = self.context.seeds.torch(purpose, step, index)
        return self._generator().variation(samples, labels, self.config.schedule()[step], generator)

    def _candidates(self, population: Samples, step: int, embed: FeatureMap) -> Tensor:
        """Return what stands for the candidates, (K, P, D) on the grid: mean features of variations of each."""
        ahead = (
            embed(self._fitted(self._varied(population, self._labels, step, "lookahead", index).images))
            for index in range(self.config.lookahead)
        )
        if self.config.lookahead:
            mean = reduce(torch.add, ahead) / self.config.lookahead
        else:
            mean = embed(self._fitted(population.images))
        return on_grid(mean).view(self.task.n_classes, self.config.population_per_class, -1)

    def _fitted(self, images: Tensor) -> Tensor:
        """Return uint8 images in the task's shape: grey or three channels, resized with antialiasing."""
        channels, height, width = self.task.shape
        if tuple(images.shape[1:]) == self.task.shape:
            return images
        pixels = images.float()
        if channels == 1 and images.shape[1] == 3:
            pixels = (pixels * torch.tensor(_GREY, device=pixels.device)[:, None, None]).sum(1, keepdim=True)
        pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
        return pixels.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1)


def _build_api(config: PeConfig, task: TaskInfo, device: str) -> ImageApi:
    if config.api == "simulator":
        return Simulator(task.classes, task.shape, config.glyph_size, device)
    if config.api == "diffusers":
        return DiffusersApi.load(
            config.pipeline,
            config.revision,
            task.classes,
            config.prompt,
            config.sampling_steps,
            config.api_batch_size,
            device,
        )
    raise PluginError(
        "api = 'imagenet64' is not available: no SHA-256 of its weights is known, and nothing unchecked is loaded. "
        f"Do: curl -LO {IMAGENET64_URL} && sha256sum imagenet64_cond_270M_250K.pt, and report the digest to dpib; "
        "or choose --set api=simulator or --set api=diffusers."
    )
