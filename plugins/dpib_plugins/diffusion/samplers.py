"""From noise to images: deterministic Euler and stochastic Heun.

Source:
    Karras et al., NeurIPS 2022, algorithms 1 and 2; step counts and churn of DPImageBench's settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7.0

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy images (N, C, H, W) and noise levels (N,) to clean images."""


@dataclass(frozen=True)
class Sampler:
    """How noise becomes images.

    Attributes:
        kind: ``"euler"``: N denoiser evaluations, deterministic; ``"heun"``: 2N - 1, with churn.
        steps: N, noise levels from 80 to ``lowest``.
        churn: how much noise is added and removed again over all steps (heun).
        churn_min: lowest noise level with churn.
        churn_max: highest noise level with churn.
        lowest: noise level at which sampling ends, with the denoised images.
    """

    kind: Literal["euler", "heun"]
    steps: int
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    lowest: float = SIGMA_MIN

    def __call__(self, denoise: Denoise, start: Tensor, generator: torch.Generator, first: int = 0) -> Tensor:
        """Return the last denoised images.

        Args:
            denoise: the model.
            start: images at noise level ``levels()[first]``, float (N, C, H, W).
            generator: of the churn's noise, on the CPU.
            first: number of the level to start from.
        """
        levels = [*self.levels().tolist(), 0.0]
        x = start
        for now, then in zip(levels[first:-1], levels[first + 1 :], strict=True):
            x, now = self._churned(x, now, generator)
            slope = (x - self._denoised(denoise, x, now)) / now
            following = x + (then - now) * slope
            if self.kind == "heun" and then > 0:
                other = (following - self._denoised(denoise, following, then)) / then
                following = x + (then - now) * (slope + other) / 2
            x = following
        return x

    def levels(self) -> Tensor:
        """Return the noise levels, float64 (N,), falling."""
        if self.steps == 1:
            return torch.tensor([SIGMA_MAX], dtype=torch.float64)
        at = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        return (SIGMA_MAX ** (1 / RHO) + at * (self.lowest ** (1 / RHO) - SIGMA_MAX ** (1 / RHO))) ** RHO

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations per image."""
        return self.steps if self.kind == "euler" else 2 * self.steps - 1

    def _churned(self, x: Tensor, level: float, generator: torch.Generator) -> tuple[Tensor, float]:
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        if self.kind == "euler" or gamma == 0 or not self.churn_min <= level <= self.churn_max:
            return x, level
        raised = level * (1 + gamma)
        noise = torch.randn(x.shape, generator=generator).to(x)
        return x + math.sqrt(raised**2 - level**2) * noise, raised

    @staticmethod
    def _denoised(denoise: Denoise, x: Tensor, level: float) -> Tensor:
        return denoise(x, torch.full((len(x),), level, device=x.device, dtype=x.dtype))
