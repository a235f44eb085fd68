"""Generates labelled images with a trained network, in batches, resumably."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dpib.api import RunContext, RunError
from dpib_plugins.diffusion.edm import denoise, to_uint8
from dpib_plugins.diffusion.samplers import SIGMA_MAX, Denoise, Sampler
from dpib_plugins.diffusion.unet import UNet


class _Album:
    """The images made so far and the labels they are for; survives a crash."""

    def __init__(self, labels: Tensor, shape: tuple[int, int, int]) -> None:
        self.images, self._labels = torch.zeros((len(labels), *shape), dtype=torch.uint8), labels

    def state_dict(self) -> dict[str, Any]:
        """Return images and labels."""
        return {"images": self.images, "labels": self._labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the images; refuse those of other labels."""
        if not torch.equal(state["labels"].cpu(), self._labels):
            raise RunError("The run folder holds images for other labels. Delete it to generate anew.")
        self.images = state["images"].cpu()


def denoiser(network: UNet, labels: Tensor) -> Denoise:
    """Return the network as a sampler's denoiser for these labels, on the network's device."""
    return functools.partial(_denoised, network, labels)


def _denoised(network: UNet, labels: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    return denoise(network, noisy, sigma, labels)


@torch.no_grad()
def in_batches(
    draw: Callable[[Tensor, torch.Generator], Tensor],
    labels: Tensor,
    shape: tuple[int, int, int],
    name: str,
    batch_size: int,
    context: RunContext,
) -> Tensor:
    """Return one image per label, uint8 (N, C, H, W) on the CPU; the same call and seed give the same images.

    Args:
        draw: maps labels (B,) on the context's device and a CPU generator to images uint8 (B, C, H, W).
        labels: int64 (N,).
        shape: of an image.
        name: of the loop, unique in the run; shown as progress. Chance does not depend on it.
        batch_size: images at once.
        context: device, checkpoint and seeds.
    """
    labels = labels.cpu()
    album = _Album(labels, shape)
    parts = labels.split(batch_size)
    for number in context.steps(name, len(parts), {"album": album}):
        part, generator = parts[number], context.seeds.torch("sample images", number)
        album.images[number * batch_size :][: len(part)] = draw(part.to(context.device), generator).cpu()
    return album.images


def sample_images(
    network: UNet,
    labels: Tensor,
    sampler: Sampler,
    shape: tuple[int, int, int],
    name: str,
    batch_size: int,
    context: RunContext,
) -> Tensor:
    """Return one image per label from a denoiser of pixels; see ``in_batches``.

    Args:
        network: trained; its own weights are used.
        labels: int64 (N,).
        sampler: how.
        shape: of an image.
        name: of the loop, unique in the run; shown as progress. Chance does not depend on it.
        batch_size: images at once.
        context: device, checkpoint and seeds.
    """
    network.eval()

    def draw(part: Tensor, generator: torch.Generator) -> Tensor:
        start = SIGMA_MAX * torch.randn((len(part), *shape), generator=generator).to(context.device)
        return to_uint8(sampler(denoiser(network, part), start, generator))

    return in_batches(draw, labels, shape, name, batch_size, context)
