"""Class-conditional residual generator of the GAN and mean-embedding methods (BigGAN style)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

LABEL_DIM = 128


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition vector."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(condition_dim, channels, bias=False)
        self.bias = nn.Linear(condition_dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W), then scale and shift it by ``condition`` (N, P)."""
        gain = 1 + self.gain(condition)
        return torch.addcmul(self.bias(condition)[..., None, None], self.norm(x), gain[..., None, None])


class UpBlock(nn.Module):
    """Residual block that doubles height and width; nearest-neighbour upsampling on both paths."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(channels, condition_dim)
        self.norm2 = ConditionalBatchNorm(channels, condition_dim)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (N, C, H, W) and (N, P) to (N, C, 2H, 2W)."""
        h = self.conv1(_double(F.relu(self.norm1(x, condition))))
        h = self.conv2(F.relu(self.norm2(h, condition)))
        return h + _double(self.skip(x))  # a 1x1 convolution commutes with nearest-neighbour upsampling


class SelfAttention(nn.Module):
    """Attention over positions; keys and values at half resolution; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        query, key, value = self.query(x), F.max_pool2d(self.key(x), 2), F.max_pool2d(self.value(x), 2)
        tokens = [t.flatten(2).transpose(1, 2).unsqueeze(1) for t in (query, key, value)]  # (N, 1, positions, C')
        padding = (0, value.shape[1] - query.shape[1])  # the fused kernel wants equal widths; zeros change nothing
        query, key, value = F.pad(tokens[0], padding), F.pad(tokens[1], padding), tokens[2]
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        mixed = mixed.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.scale * self.out(mixed)


class ResidualGenerator(nn.Module):
    """Noise and label to an image in [0, 1].

    The noise is split into one chunk for the first map and one per block; a block's chunk and the label's
    embedding drive its batch norms. All hidden widths are ``4 * g_conv_dim``. Sides of 32 and more use three
    blocks, smaller ones two, starting from ``side / 8`` or ``side / 4``; attention follows the second block.

    Args:
        shape: (channels, side, side) of an image; the side must be divisible by 8 (by 4 below 32).
        n_classes: rows of the label table.
        g_conv_dim: a quarter of the hidden width.
        z_dim: length of the noise vector.
        use_spectral_norm: divide every convolution and linear map by its largest singular value.
        normalise_labels: the label table too, if ``use_spectral_norm``; the published one is free.

    Source:
        Brock et al. (2019), BigGAN; sizes as in DPImageBench (2025), section 5.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        g_conv_dim: int,
        z_dim: int = 60,
        use_spectral_norm: bool = True,
        normalise_labels: bool = False,
    ) -> None:
        super().__init__()
        channels, side, _ = shape
        n_blocks = 3 if side >= 32 else 2
        self.z_dim, self.chunk = z_dim, z_dim // (n_blocks + 1)
        self.width, self.start = 4 * g_conv_dim, side >> n_blocks
        if shape[1] != shape[2] or self.start << n_blocks != side or self.start < 1:
            raise ValueError(f"Expected square images with a side divisible by {2**n_blocks}, got {shape}.")
        self.labels = nn.Embedding(n_classes, LABEL_DIM)
        self.first = nn.Linear(self.chunk, self.width * self.start**2)
        self.blocks = nn.ModuleList(UpBlock(self.width, self.chunk + LABEL_DIM) for _ in range(n_blocks))
        self.attention = SelfAttention(self.width)
        self.norm = nn.BatchNorm2d(self.width)
        self.last = nn.Conv2d(self.width, channels, 3, padding=1)
        _initialise(self)
        if use_spectral_norm:
            kinds = (nn.Conv2d, nn.Linear, nn.Embedding) if normalise_labels else (nn.Conv2d, nn.Linear)
            for module in [one for one in self.modules() if isinstance(one, kinds)]:
                spectral_norm(module, eps=1e-6)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Map noise (N, z_dim) and labels int64 (N,) to float images (N, C, H, W) in [0, 1]."""
        first, *chunks = z.split(self.chunk, dim=1)
        embedded = self.labels(labels)
        h = self.first(first).view(len(z), self.width, self.start, self.start)
        h = h.contiguous(memory_format=torch.channels_last)
        for index, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=False)):
            h = block(h, torch.cat([chunk, embedded], dim=1))
            if index == 1:
                h = self.attention(h)
        return torch.tanh(self.last(F.relu(self.norm(h))).float()) / 2 + 0.5


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _initialise(model: nn.Module) -> None:
    """Make all weights orthogonal and all biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.orthogonal_(module.weight)
            if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
                nn.init.zeros_(bias)
