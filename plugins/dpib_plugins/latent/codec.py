"""The KL autoencoder: images to small latents and back. It learns from public images only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.api import ConfigError
from dpib_plugins.latent.blocks import Downsample, ResidualBlock, Upsample, group_norm


class SelfAttention(nn.Module):
    """Self-attention over positions, one head, four 1x1 projections.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same."""
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view_as(x)
        return x + cast(Tensor, self.out(h))


class Codec(nn.Module):
    """Encoder and decoder with a Gaussian posterior; every level but the first halves the resolution.

    Args:
        shape: (channels, side, side) of an image.
        latent_channels: of a latent.
        width: channels at multiplier 1.
        multipliers: of the width, one per level.
        attention: resolutions at which blocks are followed by attention; the middle always has it.
        blocks: residual blocks per level of the encoder; the decoder has one more.
        inner_side: images are resized to this side before the encoder, and back after the decoder; None: they are not.

    Attributes:
        latent_shape: (channels, side, side) of a latent.
        scale: what posterior means are multiplied with, so that public latents have variance one.

    Raises:
        ConfigError: if the sizes do not fit.

    Source:
        Rombach et al. 2022, appendix G; sizes of DPImageBench.
    """

    scale: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent_channels: int = 3,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2),
        attention: Sequence[int] = (16, 8),
        blocks: int = 2,
        inner_side: int | None = None,
    ) -> None:
        super().__init__()
        channels, side, last = shape[0], inner_side or shape[1], len(multipliers) - 1
        if shape[1] != shape[2] or side % 2**last:
            raise ConfigError(
                f"Images of {side} pixels a side do not fit {last + 1} codec_multipliers: expected a square "
                f"whose side is a multiple of {2**last}."
            )
        self._outer, self._inner = shape[1], side
        self.latent_shape = (latent_channels, side >> last, side >> last)
        self.register_buffer("scale", torch.ones(()))

        def block(c_in: int, c_out: int, size: int) -> list[nn.Module]:
            return [ResidualBlock(c_in, c_out), *([SelfAttention(c_out)] if size in attention else [])]

        def middle(c: int) -> list[nn.Module]:
            return [ResidualBlock(c, c), SelfAttention(c), ResidualBlock(c, c)]

        encoder: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        c = width
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                encoder += block(c, multiplier * width, side >> level)
                c = multiplier * width
            encoder += [Downsample(c, centred=False)] if level < last else []
        encoder += [*middle(c), group_norm(c), nn.SiLU(), nn.Conv2d(c, 2 * latent_channels, 3, padding=1)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1))

        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, latent_channels, 1)]
        decoder += [nn.Conv2d(latent_channels, c, 3, padding=1), *middle(c)]
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                decoder += block(c, multiplier * width, side >> level)
                c = multiplier * width
            decoder += [Upsample(c)] if level else []
        self.decoder = nn.Sequential(*decoder, group_norm(c), nn.SiLU(), nn.Conv2d(c, channels, 3, padding=1))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latents of images in -1..1, each float (N, c, h, w), unscaled."""
        mean, log_variance = self.encoder(sized(images, self._inner)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled posterior means of images in -1..1, without gradient: a function of each image alone."""
        return self.posterior(images)[0] * self.scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the images, about in -1..1, of scaled latents."""
        return sized(self.decoder(latents / self.scale), self._outer)

    def loss_rows(self, images: Tensor, kl_weight: float) -> Tensor:
        """Return mean absolute error per pixel plus the weighted KL divergence per pixel, float (N,).

        Args:
            images: in -1..1, (N, C, H, W).
            kl_weight: of the posterior's divergence from N(0, 1), summed over the latent and divided by the pixels.
        """
        mean, log_variance = self.posterior(images)
        sample = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        error = (self.decoder(sample) - sized(images, self._inner)).abs().mean(dim=(1, 2, 3))
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)) / 2
        return cast(Tensor, error + kl_weight * divergence / (images.shape[1] * self._inner**2))


def sized(images: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, H) resized to a side, bilinearly with antialiasing; as they are if they have it."""
    if images.shape[2] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
