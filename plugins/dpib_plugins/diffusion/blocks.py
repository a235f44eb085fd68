"""Parts of the U-Net: residual blocks and self-attention. All normalise within one image, as DP-SGD needs.

Source:
    NCSN++ (Song et al., ICLR 2021) with BigGAN's residual blocks, as configured by DPDM (Dockhorn et al. 2023).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SQRT_HALF = math.sqrt(0.5)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the normalisation of all layers: a quarter as many groups as channels, at most 32."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def initialised(layer: nn.Conv2d | nn.Linear, scale: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Return the layer with uniform weights of variance ``scale`` / mean of fan-in and fan-out, and zero bias."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def conv(c_in: int, c_out: int, size: int, scale: float = 1.0) -> nn.Module:
    """Return a convolution that keeps the resolution."""
    return initialised(nn.Conv2d(c_in, c_out, size, padding=size // 2), scale)


def linear(n_in: int, n_out: int) -> nn.Module:
    """Return a linear layer."""
    return initialised(nn.Linear(n_in, n_out))


class ResidualBlock(nn.Module):
    """Norm, swish, resampling, 3x3, plus the time embedding, norm, swish, 3x3 that starts at zero.

    Args:
        c_in: channels in.
        c_out: channels out.
        embedding: width of the time embedding.
        resample: ``"down"`` halves the resolution by averaging, ``"up"`` doubles it by repetition.
    """

    def __init__(self, c_in: int, c_out: int, embedding: int, resample: Literal["", "up", "down"] = "") -> None:
        super().__init__()
        self.resample = resample
        self.norm1, self.conv1 = group_norm(c_in), conv(c_in, c_out, 3)
        self.time = linear(embedding, c_out)
        self.norm2, self.conv2 = group_norm(c_out), conv(c_out, c_out, 3, scale=0.0)
        self.skip = conv(c_in, c_out, 1) if c_in != c_out or resample else nn.Identity()

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (N, C, H, W) and the swished embedding (N, E)."""
        h = self.conv1(self._resampled(F.silu(self.norm1(x))))
        h = self.conv2(F.silu(self.norm2(h + self.time(embedding)[:, :, None, None])))
        return (self.skip(self._resampled(x)) + h) * _SQRT_HALF


class Attention(nn.Module):
    """Self-attention over positions, one head; the output projection starts at zero.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q, self.k, self.v = (conv(channels, channels, 1, scale=0.1) for _ in range(3))
        self.out = conv(channels, channels, 1, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same."""
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view_as(x)
        return (x + self.out(h)) * _SQRT_HALF


class TimeAndClass(nn.Module):
    """Embeds noise levels and classes together, and returns what residual blocks take.

    Args:
        width: of the sinusoids and of a row of the class table; even, at least 4.
        n_classes: K; row K of the table is the null token, "no class given".
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(n_classes + 1, width)
        self.linear1, self.linear2 = linear(width, 4 * width), linear(4 * width, 4 * width)
        self._rates = [math.exp(-math.log(10_000) * i / (width // 2 - 1)) for i in range(width // 2)]

    def forward(self, level: Tensor, labels: Tensor) -> Tensor:
        """Map noise levels (N,) and labels int64 (N,) to (N, 4 · width)."""
        angles = level[:, None] * torch.tensor(self._rates, dtype=level.dtype, device=level.device)
        h = torch.cat([angles.sin(), angles.cos()], dim=1) + self.classes(labels)
        return F.silu(self.linear2(F.silu(self.linear1(h))))
