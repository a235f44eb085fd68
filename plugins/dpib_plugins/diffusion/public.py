"""Training a denoiser on images that cost no privacy: public ones, or such as were released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpib.api import LabelledImages, RunContext, TaskInfo
from dpib_plugins.diffusion.edm import Levels, loss_rows, scaled
from dpib_plugins.diffusion.settings import PretrainingConfig
from dpib_plugins.diffusion.unet import UNet
from dpib_plugins.nets.averaging import moving_average

Augment = Callable[[Tensor], Tensor]
"""Maps a batch uint8 (B, C, H, W) to the same shape and type; may draw from torch's global generators."""


@dataclass(frozen=True)
class PublicSchedule:
    """A training without privacy.

    Attributes:
        steps: updates.
        batch_size: images per update, drawn with replacement.
        learning_rate: of Adam.
        averaging: decay of the moving average.
        label_dropout: share of labels replaced by the null token.
    """

    steps: int
    batch_size: int
    learning_rate: float
    averaging: float
    label_dropout: float


def mirrored(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) of which each is mirrored with probability one half."""
    chosen = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def descend(
    network: nn.Module,
    data: LabelledImages,
    rows: Callable[[Tensor, Tensor], Tensor],
    *,
    name: str,
    schedule: PublicSchedule,
    context: RunContext,
    augment: Augment | None = None,
) -> None:
    """Minimise a loss over all parameters of a network, and leave it with its averaged weights.

    Args:
        network: starts from the weights it has.
        data: public or released images.
        rows: maps images uint8 (B, C, H, W) and labels (B,) to losses (B,); may draw from torch's global generators.
        name: of the loop, unique in ``context``; shown as progress, addresses checkpoint and randomness.
        schedule: how long and how fast; its label dropout is the business of ``rows``.
        context: device, checkpoint, seeds: the pretraining's own, or the run's for images of the run.
        augment: applied to every batch.
    """
    device = context.device
    network.to(device).train().requires_grad_(True)
    adam = torch.optim.Adam(network.parameters(), schedule.learning_rate)
    average = moving_average(network, schedule.averaging)
    carry: dict[str, nn.Module | torch.optim.Optimizer] = {"network": network, "optimizer": adam, "average": average}
    for step in context.steps(name, schedule.steps, carry):
        chosen = torch.randint(len(data), (schedule.batch_size,), generator=context.seeds.torch(name, step))
        images, labels = data.images[chosen].to(device), data.labels[chosen].to(device)
        loss = rows(augment(images) if augment else images, labels).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())


def learn_public(
    network: UNet,
    data: LabelledImages,
    *,
    name: str,
    schedule: PublicSchedule,
    levels: Levels,
    context: RunContext,
    augment: Augment | None = None,
) -> None:
    """Train a denoiser of pixels, all of its parameters, and leave it with its averaged weights; see ``descend``.

    Args:
        network: starts from the weights it has.
        data: images of the network's shape with labels in 0..K-1.
        name: of the loop, unique in ``context``; shown as progress, addresses checkpoint and randomness.
        schedule: how long and how fast.
        levels: noise levels.
        context: device, checkpoint, seeds: the pretraining's own, or the run's for images of the run.
        augment: applied to every batch.
    """
    null = network.embed.classes.num_embeddings - 1

    def rows(images: Tensor, labels: Tensor) -> Tensor:
        clean = scaled(images)
        dropped = torch.rand(len(labels), device=labels.device) < schedule.label_dropout
        sigma = levels.drawn(len(labels), labels.device)
        return loss_rows(network, clean, torch.randn_like(clean), sigma, torch.where(dropped, null, labels))

    descend(network, data, rows, name=name, schedule=schedule, context=context, augment=augment)


def pretrained(config: PretrainingConfig, task: TaskInfo, data: LabelledImages, context: RunContext) -> UNet:
    """Return a network that has learnt from public images, from weights that the context's seeds give.

    Args:
        config: network and schedule.
        task: shape and classes of the private images, which the public ones were fitted to.
        data: public images, labels in 0..K-1.
        context: of the pretraining, so that every run that asks for the same gets the same.
    """
    with context.seeds.init("network"):
        network = config.network(task)
    schedule = PublicSchedule(
        steps=config.pretrain_steps,
        batch_size=config.pretrain_batch,
        learning_rate=config.pretrain_learning_rate,
        averaging=config.averaging,
        label_dropout=config.label_dropout,
    )
    augment = mirrored if config.pretrain_flip else None
    name, levels = "pretrain denoiser", config.levels()
    learn_public(network, data, name=name, schedule=schedule, levels=levels, context=context, augment=augment)
    return network
