"""Parts of autoencoder and latent U-Net. All normalise within one image, as DP-SGD needs.

Source:
    Rombach et al., CVPR 2022 (latent diffusion), as configured by DPImageBench.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 8
"""Channels of an attention head."""


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """Return the normalisation of all layers: 32 groups as published, or groups of four where 32 do not fit.

    Published networks of width 32 have one channel per group at their first level: what is added to all positions of a
    channel, so the time embedding, has no effect there. Smaller networks here are spared that.
    """
    return nn.GroupNorm(max(1, channels // 4) if channels % 32 else 32, channels, eps=eps)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return the layer with all parameters zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResidualBlock(nn.Module):
    """Norm, swish, 3x3, plus the time embedding if there is one, norm, swish, 3x3; beside it a 1x1 if widths differ.

    Args:
        c_in: channels in.
        c_out: channels out.
        embedding: width of the time embedding; None in the autoencoder.
    """

    def __init__(self, c_in: int, c_out: int, embedding: int | None = None) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = None if embedding is None else nn.Linear(embedding, c_out)
        self.norm2, self.conv2 = group_norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        if embedding is not None:
            zeroed(self.conv2)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W) and the swished embedding (N, E)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(embedding)[:, :, None, None]
        return cast(Tensor, self.skip(x) + self.conv2(F.silu(self.norm2(h))))


class Attention(nn.Module):
    """Attention of an image's positions over themselves or over a context, in heads of 8 channels.

    Args:
        width: channels of the positions.
        context: channels of the context; None: the positions themselves.
    """

    def __init__(self, width: int, context: int | None = None) -> None:
        super().__init__()
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(context or width, width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map positions (N, P, C), and a context (N, L, E) if it was made for one, to (N, P, C)."""
        other = x if context is None else context
        q, k, v = (h.unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2) for h in (self.q(x), self.k(other), self.v(other)))
        return cast(Tensor, self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


class Transformer(nn.Module):
    """Over an image's positions: self-attention, attention over the class, gated MLP; between two 1x1 convolutions.

    Args:
        channels: in and out; a multiple of 8.
        context: width of the class embedding.
    """

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.norm, self.enter = group_norm(channels, eps=1e-6), nn.Conv2d(channels, channels, 1)
        self.norm1, self.attend = nn.LayerNorm(channels), Attention(channels)
        self.norm2, self.cross = nn.LayerNorm(channels), Attention(channels, context)
        self.norm3, self.widen = nn.LayerNorm(channels), nn.Linear(channels, 8 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.exit = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map (N, C, H, W) and the context (N, L, E) to (N, C, H, W)."""
        h = self.enter(self.norm(x)).flatten(2).transpose(1, 2)
        h = h + self.attend(self.norm1(h))
        h = h + self.cross(self.norm2(h), context)
        value, gate = self.widen(self.norm3(h)).chunk(2, dim=-1)
        h = h + self.narrow(value * F.gelu(gate))
        return x + cast(Tensor, self.exit(h.transpose(1, 2).contiguous().view_as(x)))


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2.

    Args:
        channels: in and out.
        centred: pad all sides, as the U-Net does; else right and bottom alone, as the autoencoder does.
    """

    def __init__(self, channels: int, centred: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=int(centred))
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H/2, W/2)."""
        return cast(Tensor, self.conv(x if self.centred else F.pad(x, (0, 1, 0, 1))))


class Upsample(nn.Module):
    """Repeated pixels, then a 3x3 convolution.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, 2H, 2W)."""
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2, mode="nearest")))


class TimeEmbedding(nn.Module):
    """Sinusoids of the time step and two linear layers.

    Args:
        width: of the sinusoids; even.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self._rates = [math.exp(-math.log(10_000) * i / (width // 2)) for i in range(width // 2)]

    def forward(self, times: Tensor) -> Tensor:
        """Map time steps int64 (N,) to (N, 4 · width), swished."""
        angles = times[:, None] * torch.tensor(self._rates, device=times.device)
        h = torch.cat([angles.cos(), angles.sin()], dim=1)
        return F.silu(self.linear2(F.silu(self.linear1(h))))
