"""DP-SGD on a denoiser: one loop for pixels and latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from dpib.api import DpSgdPlan, PrivateDataset
from dpib.context import Stateful
from dpib_plugins.diffusion.noise import NoisePool
from dpib_plugins.nets.averaging import moving_average


class PrivateSettings(Protocol):
    """What a configuration says about the private training."""

    @property
    def steps(self) -> int:
        """Noised updates."""

    @property
    def batch_size(self) -> int:
        """Records expected in the Poisson sample of an update."""

    @property
    def clipping_norm(self) -> float:
        """L2 bound on a record's gradient."""

    @property
    def noise_multiplicity(self) -> int:
        """K, noised copies of a record."""

    @property
    def averaging(self) -> float:
        """Decay of the moving average."""

    @property
    def physical_batch(self) -> int | None:
        """Records per backward pass."""


def train_denoiser(
    private: PrivateDataset,
    network: nn.Module,
    loss: Callable[[NoisePool, Tensor, Tensor], Tensor],
    *,
    label: str,
    settings: PrivateSettings,
    optimizer: torch.optim.Optimizer,
    pool: NoisePool,
    schedule: LRScheduler | None = None,
) -> None:
    """Train on all budget that is left, and leave the network with its averaged weights.

    Args:
        private: the records.
        network: parameters that require no gradient stay as they are.
        loss: maps the pool, images uint8 (B, C, H, W) and labels (B,) to losses (B·K,).
        label: of the charge, unique in the run.
        settings: how long, how large, how often.
        optimizer: of the parameters that are trained.
        pool: the public noise of a step; drawn anew after each.
        schedule: of the step size, if it changes.
    """
    network.train()
    average = moving_average(network, settings.averaging)
    carry: dict[str, Stateful] = {"average": average, "noise pool": pool}
    if schedule is not None:
        carry["schedule"] = cast(Stateful, schedule)

    def after_step(step: int) -> None:
        average.update_parameters(network)
        pool.refill(step + 1)
        if schedule is not None:
            schedule.step()

    private.train(
        network,
        lambda images, labels: loss(pool, images, labels),
        DpSgdPlan(
            steps=settings.steps,
            sample_rate=min(1.0, settings.batch_size / private.task.nominal_size),
            clipping_norm=settings.clipping_norm,
            noise_multiplicity=settings.noise_multiplicity,
        ),
        label=label,
        optimizer=optimizer,
        physical_batch_size=settings.physical_batch,
        after_step=after_step,
        carry=carry,
    )
    network.load_state_dict(average.module.state_dict())
