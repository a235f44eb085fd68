"""What is timed: networks with their losses and batch shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from bench.dpsgd.nets import Discriminator, UNet
from torch import Tensor, nn
from torch.nn import functional as F

from dpib_plugins.diffusion.adapters import train_only
from dpib_plugins.latent.adapters import add_low_rank
from dpib_plugins.latent.unet import LatentUNet


@dataclass(frozen=True)
class Case:
    """One network at one batch shape.

    Attributes:
        name: column of the table.
        make: builds the network.
        shape: of an image.
        n_labels: labels to draw from.
        images: B, per step.
        copies: K, noise multiplicity.
        latent: the network estimates noise from time steps, not from noise levels.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    n_labels: int
    images: int
    copies: int
    latent: bool = False

    def network(self, device: str) -> nn.Module:
        """Return the network with the same random weights every time."""
        torch.manual_seed(0)
        return self.make().to(device)

    def batch(self, device: str, images: int | None = None) -> tuple[Tensor, ...]:
        """Return what ``losses`` takes, all (B·K, ...), image-major."""
        n, generator = images or self.images, torch.Generator().manual_seed(1)
        clean = torch.rand((n, *self.shape), generator=generator).mul(2).sub(1).repeat_interleave(self.copies, 0)
        labels = torch.randint(self.n_labels, (n,), generator=generator).repeat_interleave(self.copies)
        sigma = torch.exp(1.2 * torch.randn(len(clean), generator=generator) - 1.2)
        noise = torch.randn(clean.shape, generator=generator)
        return tuple(t.to(device) for t in (clean, labels, sigma, noise))

    def losses(self, net: Callable[..., Tensor], clean: Tensor, labels: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return one loss per row: denoising for a U-Net, a soft hinge (never saturated) for a discriminator."""
        if self.make is Discriminator:
            return F.softplus(-net(clean, labels))
        s = sigma[:, None, None, None]
        if self.latent:
            return (net(clean + s * noise, (100 * sigma).long(), labels) - noise).square().flatten(1).mean(1)
        out = net((clean + s * noise) / (1 / 3 + s * s).sqrt(), sigma.log() / 4, labels)
        return (out - clean).square().flatten(1).mean(1)


def _unet_32() -> nn.Module:
    return UNet(3, 32, (2, 4), 16, 1000)


def _unet_28() -> nn.Module:
    return UNet(1, 28, (2, 2), 14, 10)


def _latent() -> nn.Module:
    network = LatentUNet((3, 14, 14), 10, 64, (1, 2), (1, 2), 2)
    for parameter in network.parameters():  # nothing starts at zero, or most gradients would
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return network


def _latent_low_rank() -> nn.Module:
    network = _latent()
    train_only(network, add_low_rank(network, ("q", "k", "v"), 8, 8.0))
    return network


def cases(scale: int = 1) -> list[Case]:
    """Return all cases; ``scale`` multiplies the images of each (a GPU wants more)."""
    nets: list[tuple[str, Callable[[], nn.Module], tuple[int, int, int], int]] = [
        ("unet-3.87M", _unet_32, (3, 32, 32), 1000),
        ("unet-1.49M", _unet_28, (1, 28, 28), 10),
        ("latent-7.11M", _latent, (3, 14, 14), 10),
        ("latent-lora-7.29M", _latent_low_rank, (3, 14, 14), 10),
    ]
    shapes = [(2, 32), (8, 4), (32, 1)]
    found = [
        Case(f"{name} B={b * scale} K={k}", make, shape, n_labels, b * scale, k, name.startswith("latent"))
        for name, make, shape, n_labels in nets
        for b, k in shapes
    ]
    return [*found, Case(f"disc-1.65M B={32 * scale} K=1", Discriminator, (3, 32, 32), 2, 32 * scale, 1)]
