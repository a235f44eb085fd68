"""Autoencoder and latent denoiser from public images: the part that costs no privacy and is shared between runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpib.api import LabelledImages, RunContext, TaskInfo
from dpib_plugins.diffusion.edm import scaled
from dpib_plugins.diffusion.public import Augment, PublicSchedule, descend, mirrored
from dpib_plugins.latent.backbone import PretrainedCodec
from dpib_plugins.latent.codec import Codec
from dpib_plugins.latent.ddpm import TIMES, loss_rows, signal_shares
from dpib_plugins.latent.settings import PublicConfig
from dpib_plugins.latent.unet import LatentUNet

_SCALE_IMAGES = 10_000
"""Public images whose latents set the scale."""


def pretrained(
    config: PublicConfig, task: TaskInfo, data: LabelledImages, context: RunContext
) -> tuple[Codec, LatentUNet]:
    """Return an autoencoder and a denoiser of its latents that have learnt from public images.

    Args:
        config: networks and schedules.
        task: shape and classes of the private images, which the public ones were fitted to.
        data: public images, labels in 0..K-1.
        context: of the pretraining, so that every run that asks for the same gets the same.
    """
    with context.seeds.init("network"):
        codec = config.codec(task)
        network = config.network(task, codec)
    augment = mirrored if config.pretrain_flip else None

    def codec_rows(images: Tensor, _: Tensor) -> Tensor:
        return codec.loss_rows(scaled(images), config.kl_weight)

    schedule = config.codec_schedule()
    descend(codec, data, codec_rows, name="pretrain codec", schedule=schedule, context=context, augment=augment)
    codec.eval().requires_grad_(False)
    codec.scale.copy_(context.once("scale of latents", lambda: _latent_scale(codec, data, context)))

    schedule, shares = config.pretrain_schedule(), signal_shares()
    learn_latents(
        network, codec, shares, data, name="pretrain denoiser", schedule=schedule, context=context, augment=augment
    )
    return codec, network


def learn_latents(
    network: nn.Module,
    codec: Codec | PretrainedCodec,
    shares: Tensor,
    data: LabelledImages,
    *,
    name: str,
    schedule: PublicSchedule,
    context: RunContext,
    augment: Augment | None,
) -> None:
    """Train a denoiser of latents, all of its parameters, and leave it with its averaged weights; see ``descend``.

    Args:
        network: starts from the weights it has.
        codec: encodes the images; it does not change.
        shares: the noise schedule ā, float64 (1000,).
        data: public or released images, labels in 0..K-1.
        name: of the loop, unique in ``context``; shown as progress, addresses checkpoint and randomness.
        schedule: how long and how fast.
        context: device, checkpoint, seeds: the pretraining's own, or the run's for images of the run.
        augment: applied to every batch.
    """

    def rows(images: Tensor, labels: Tensor) -> Tensor:
        clean = codec.encode(scaled(images))
        times = torch.randint(TIMES, (len(images),), device=images.device)
        return loss_rows(network, clean, torch.randn_like(clean), times, labels, shares)

    descend(network, data, rows, name=name, schedule=schedule, context=context, augment=augment)


def _latent_scale(codec: Codec, data: LabelledImages, context: RunContext) -> Tensor:
    """Return one over the standard deviation of the latents of public images."""
    chosen = torch.randperm(len(data), generator=context.seeds.torch("scale"))[:_SCALE_IMAGES]
    parts = [codec.encode(scaled(part.to(context.device))).cpu() for part in data.images[chosen].split(500)]
    return 1 / torch.cat(parts).double().std().float().clamp(min=1e-3)
