"""GS-WGAN: a generator taught by private critics, of whom only noisy gradients at its output are released.

Idea: the records are divided into M parts. Each part has its own critic, which never leaves the harness. In every step
one critic says how each generated image should change; this advice is clipped, noised and passed on to the generator.

Paper: Chen, Orekondy, Fritz (NeurIPS 2020); settings from DPImageBench (2025), appendix B.2.

Released: in step t, by the critic of part t mod M, the gradients of -(1/B) Σ D(x_i, y_i) with respect to the B
generated images x_i, each clipped to C/B, plus N(0, (2σC/√B)²) on every coordinate. A record decides all rows of its
own part's releases and no other: L2 sensitivity 2C/√B for the matrix, ⌈T/M⌉ times.

Public: image shape, classes, the turn of the parts, the hash that assigns them, initial weights of the generator, its
coin flips and labels, from the run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dpib.api import LabelledImages, MethodConfig, PrivateDataset, PublicDataset, RunContext, Synthesizer, TaskInfo
from dpib_plugins.gs_wgan.critics import CriticConfig, Critics, CriticTrainer, GeneratorOpponent, adam
from dpib_plugins.gs_wgan.networks import Generator, coins
from dpib_plugins.nets.averaging import moving_average, plain_mean
from dpib_plugins.nets.labels import in_turn
from dpib_plugins.nets.rendering import render

_SETTLING = 10


class GsWganConfig(CriticConfig):
    """Hyper-parameters; defaults are the published ones, the same for all datasets."""

    parts: int = Field(default=1_000, ge=1, description="parts of the records, each with a critic of its own")
    steps: int = Field(default=20_000, ge=1, description="generator updates, all noised")
    width: int = Field(default=256, ge=1, description="channels of the generator's blocks")
    batch_size: int = Field(default=32, ge=1, description="generated images per generator update")
    clipping_norm: float = Field(default=1.0, gt=0, description="L2 bound on the sum of the rows' norms")
    pool: int = Field(default=160, ge=1, description="generated images per step that critics train on, rounded up to K")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the generator's moving average")
    pretrain_steps: int = Field(default=2_000, ge=1, description="updates on public images, if there are any")
    prelude_steps: int = Field(default=2_000, ge=1, description="updates on images that a prelude released")


class GsWgan(Synthesizer):
    """A generator taught by the sanitised advice of private critics."""

    Config = GsWganConfig
    config: GsWganConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        self.generator = self._new_generator(context).to(context.device)

    def _new_generator(self, context: RunContext) -> Generator:
        """Return a generator with the initial weights that the context's seeds give."""
        with context.seeds.init("generator"):
            return Generator(self.task.shape, self.task.n_classes, self.config.width, self.config.z_dim)

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Play the same game on public images, labels taken modulo K, without clipping and noise.

        It starts from weights that the pretraining's own seed gives.
        """
        self.generator.load_state_dict(self._new_generator(context).state_dict())
        self._play("pretrain generator", public.data, self.config.pretrain_steps, context)

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Go on with that game on released images, against a new critic."""
        self._play("warm up generator", images.data, self.config.prelude_steps, context)

    def _play(self, name: str, data: LabelledImages, steps: int, context: RunContext) -> None:
        config, k = self.config, self.task.n_classes
        with context.seeds.init("public critic"):
            trainer = CriticTrainer(self.task.shape, k, config, context.device)
        opponent = GeneratorOpponent(self.generator, config)
        images, labels = data.images.to(context.device), data.labels.to(context.device) % k
        classes, batch = labels.unique(), config.batch_size
        carry: dict[str, Any] = {
            "generator": self.generator,
            "adam": opponent.adam,
            "critic": trainer.critic,
            "critic adam": trainer.adam,
        }
        for step in context.steps(name, steps, carry):
            trainer.update(images, labels, opponent.fakes)
            opponent.update(in_turn(classes, step * batch, batch), trainer)

    def fit(self, private: PrivateDataset) -> None:
        """Ask the critics in turn and let the generator follow their noisy advice."""
        config, context, k = self.config, self.context, self.task.n_classes
        batch = config.batch_size
        critics = private.plan_part_releases(
            Critics(self.task.shape, k, config, context.device),
            config.steps,
            parts=config.parts,
            label="critics",
            shape=(batch, math.prod(self.task.shape)),
            row_norm=config.clipping_norm / batch,
        )
        generator, name = self.generator.train(), "fit generator"
        optimizer = adam(generator, config)
        average = moving_average(generator, config.averaging, plain_mean)
        classes = torch.arange(k, device=context.device)
        pool_labels = classes.repeat(math.ceil(config.pool / k))
        carry: dict[str, Any] = {"generator": generator, "adam": optimizer, "average": average, "critics": critics}
        for step in context.steps(name, config.steps, carry):
            with torch.no_grad():
                pool = generator(self._coins(len(pool_labels), f"{name} pool", step), pool_labels)
            labels = in_turn(classes, step * batch, batch)
            images = generator(self._coins(batch, name, step), labels)
            advice = critics.release(step, {"images": images, "labels": labels, "pool": pool})
            optimizer.zero_grad()
            images.backward(advice.view_as(images))
            optimizer.step()
            average.update_parameters(generator)
        generator.load_state_dict(average.module.state_dict())
        with torch.no_grad():  # the singular vectors of spectral norm belong to the last weights, not to the averaged
            for step in range(_SETTLING):
                generator(self._coins(k, "settle", step), classes)

    @torch.no_grad()
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label."""
        noise = coins(len(labels), self.config.z_dim, self.context.seeds.torch("generate"))
        return render(self.generator.eval(), noise, labels, self.context.device)

    def _coins(self, n: int, name: str, step: int) -> Tensor:
        return coins(n, self.config.z_dim, self.context.seeds.torch(name, step)).to(self.context.device)
