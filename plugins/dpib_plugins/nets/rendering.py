"""From a trained generator to images: precision, batch-norm statistics, bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BATCH = 250
"""Images generated at once; bounds memory."""


def precision(device: str, bfloat16: bool) -> torch.autocast:
    """Return a context in which convolutions and products run in bfloat16, or everything in float32.

    Float32 too where bfloat16 would be slow: on GPUs without it, and on processors where oneDNN has no such
    convolution (AVX2 alone, say), so that PyTorch falls back to loops (its issue 183815).
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=bfloat16 and _has_bfloat16(kind))


@torch.no_grad()
def settle_batch_norm(generator: nn.Module, noise: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
    """Replace running batch-norm statistics by averages over fresh batches, and leave training mode.

    Running statistics lag behind the weights, and behind averaged weights most.

    Args:
        generator: maps noise and labels to images.
        noise: float (B, z_dim), one per batch.
        labels: int64 (B,), one per batch.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to ask for a plain average
    generator.train()
    for one_noise, one_labels in zip(noise, labels, strict=True):
        generator(one_noise, one_labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()


@torch.no_grad()
def render(generator: nn.Module, noise: Tensor, labels: Tensor, device: str) -> Tensor:
    """Return uint8 images (N, C, H, W) for noise (N, z_dim) and labels (N,), a batch at a time."""
    parts = [
        generator(one_noise.to(device), one_labels.to(device)).float().mul(255).round().to(torch.uint8).cpu()
        for one_noise, one_labels in zip(noise.split(BATCH), labels.split(BATCH), strict=True)
    ]
    return torch.cat(parts)


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
