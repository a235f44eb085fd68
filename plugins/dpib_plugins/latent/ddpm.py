"""DDPM in latent space: noise schedule, training loss, DDIM sampling.

Source:
    Ho, Jain, Abbeel, NeurIPS 2020 (loss); Song, Meng, Ermon, ICLR 2021 (DDIM, equation 12); schedule of Rombach et al.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

TIMES = 1_000
_BETA_FIRST, _BETA_LAST = 0.0015, 0.0155

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy latents (N, C, H, W) and time steps int64 (N,) to the noise in them."""


def signal_shares() -> Tensor:
    """Return ā, float64 (1000,): the share of a latent's variance that is signal after t + 1 steps of noise.

    √β rises linearly from √0.0015 to √0.0155; latent diffusion calls this schedule linear.
    """
    roots = torch.linspace(_BETA_FIRST**0.5, _BETA_LAST**0.5, TIMES, dtype=torch.float64)
    return (1 - roots**2).cumprod(0)


def times_at(quantiles: Tensor) -> Tensor:
    """Return the time steps int64 (N,) at quantiles float (N,) in 0..1 of the uniform distribution over 0..999."""
    return (quantiles * TIMES).long().clamp(max=TIMES - 1)


def loss_rows(
    network: nn.Module, clean: Tensor, noise: Tensor, times: Tensor, labels: Tensor, shares: Tensor | None = None
) -> Tensor:
    """Return the squared error of the estimated noise, mean over the latent, float (N,).

    Args:
        network: maps noisy latents, time steps and labels to the noise.
        clean: latents (N, C, H, W).
        noise: N(0, 1), of the same shape.
        times: int64 (N,) in 0..999.
        labels: int64 (N,).
        shares: the noise schedule ā, float64 (1000,); by default ``signal_shares``.
    """
    shares = signal_shares() if shares is None else shares
    share = shares.to(clean.device)[times].to(clean.dtype)[:, None, None, None]
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    return (network(noisy, times, labels) - noise).square().mean(dim=(1, 2, 3))


def ddim(
    predict: PredictNoise,
    start: Tensor,
    steps: int,
    eta: float,
    generator: torch.Generator,
    shares: Tensor | None = None,
) -> Tensor:
    """Return latents sampled from noise.

    Args:
        predict: the model, with its labels.
        start: N(0, 1), float (N, C, H, W).
        steps: model evaluations, 1..1000, at evenly spaced time steps from 999 to near 0.
        eta: share of fresh noise: 0 none, so deterministic; 1 as much as ancestral sampling.
        generator: of the fresh noise, on the CPU.
        shares: the noise schedule ā, float64 (1000,); by default ``signal_shares``.
    """
    schedule = (signal_shares() if shares is None else shares).tolist()
    times = torch.linspace(TIMES - 1, 0, steps + 1).round().long().tolist()[:-1]
    x = start
    for now, then in zip(times, [*times[1:], None], strict=True):
        here, there = schedule[now], 1.0 if then is None else schedule[then]
        noise = predict(x, torch.full((len(x),), now, device=x.device))
        clean = (x - (1 - here) ** 0.5 * noise) / here**0.5
        std = eta * ((1 - there) / (1 - here) * (1 - here / there)) ** 0.5
        x = there**0.5 * clean + max(1 - there - std**2, 0.0) ** 0.5 * noise
        if std > 0:
            x = x + std * torch.randn(x.shape, generator=generator).to(x)
    return x
