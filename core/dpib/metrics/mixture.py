"""A mixture of isotropic Gaussians on given centres whose widths are fitted to other points: what FLD is made of."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpib.metrics.stored import Rows

LEARNING_RATE = 0.5
MAX_EPOCHS = 50
BATCH = 10_000
MEAN_SHARE = 0.1
"""The broad component stands at the mean of the points; distances to it are shortened by this share."""
BOUND = 40.0
"""Log-variances stay within ±40, also where a centre equals a point."""
SETTLED = 5e-4
CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Standardised:
    """Points (N, D) as ``(rows - centre) / scale``, computed where they are read.

    Attributes:
        rows: float32 (N, D).
        centre: float64 (D,).
        scale: float64 (D,), positive.
    """

    rows: Rows
    centre: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, index: Tensor) -> Tensor:
        """Return float32 (n, D) of the points at ``index``."""
        return torch.from_numpy(((self.rows[index.numpy()] - self.centre) / self.scale).astype(np.float32))

    def mean(self, index: Tensor) -> Tensor:
        """Return the mean, float32 (D,), of the points at ``index``."""
        total = sum((self.rows[part.numpy()].sum(axis=0, dtype=np.float64) for part in index.split(1024)), 0.0)
        return torch.from_numpy(((total / len(index) - self.centre) / self.scale).astype(np.float32))


class Mixture:
    """One Gaussian per centre, equally weighted.

    Distances are computed once and spooled to a temporary file, so that memory holds some rows of them at a time.

    Args:
        centres: float32 (M, D).
        scratch: folder for the temporary file, created if missing.
        device: where to compute.

    Source:
        Jiralerspong et al., 2023, Section 3, and the authors' package ``fld``: log-variances start at the squared
        distance to the nearest point over D and are fitted by Adam on the negative log-likelihood, together with one
        broad component at the mean of the points, which evaluation leaves out.
    """

    def __init__(self, centres: Tensor, scratch: Path, device: str) -> None:
        self._centres, self._scratch, self._device = centres.to(device), scratch, device
        self._dim = centres.shape[1]
        self._log_variances = torch.zeros(len(centres), device=device)

    def fit(self, points: Standardised, order: Tensor) -> None:
        """Fit the widths to points, taken in batches of 10,000 in ``order``, int64 (n,), the same in every epoch.

        Raises:
            OSError: if the distances, 4 (M + 1) n bytes, cannot be spooled.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as spool:
            nearest = torch.full((len(self._centres),), math.inf, device=self._device)
            mean = points.mean(order).to(self._device)
            for part in order.split(self._rows_at_once):
                rows = points.at(part).to(self._device)
                distances = self._distances(rows)
                nearest = torch.minimum(nearest, distances.min(dim=0).values)
                to_mean = (rows - mean).square().sum(dim=1, keepdim=True) * (1 - MEAN_SHARE) ** 2
                spool.write(torch.cat([distances, to_mean], dim=1).cpu().numpy().data)
            start = ((nearest + 1e-3) / self._dim).log()
            self._log_variances = self._minimise(start, spool.fileno(), len(order))

    def negative_log_likelihood(self, points: Standardised) -> float:
        """Return the mean negative log-likelihood of points per dimension."""
        total = 0.0
        for part in torch.arange(len(points)).split(self._rows_at_once):
            logs = self._component_logs(self._distances(points.at(part).to(self._device)), self._log_variances)
            total += float((logs - math.log(len(self._centres))).logsumexp(dim=1).double().sum())
        return -total / (len(points) * self._dim)

    @property
    def _rows_at_once(self) -> int:
        return max(1, CHUNK_NUMBERS // len(self._centres))

    def _distances(self, points: Tensor) -> Tensor:
        norms = points.square().sum(dim=1, keepdim=True) + self._centres.square().sum(dim=1)
        return torch.addmm(norms, points, self._centres.T, alpha=-2).clamp_(min=0)

    def _component_logs(self, distances: Tensor, log_variances: Tensor) -> Tensor:
        constants = (log_variances + math.log(2 * math.pi)).mul_(-self._dim / 2)
        return torch.addcmul(constants, distances, torch.exp(-log_variances), value=-0.5)

    def _minimise(self, start: Tensor, spool: int, n_points: int) -> Tensor:
        """Return fitted log-variances (M,) from spooled rows of M + 1 squared distances."""
        parameters = torch.cat([start, torch.zeros(1, device=self._device)])
        optimizer = torch.optim.Adam([parameters], lr=LEARNING_RATE)
        losses: list[float] = []
        for epoch in range(MAX_EPOCHS):
            batch_losses = []
            for first in range(0, n_points, BATCH):
                last = min(first + BATCH, n_points)
                loss, parameters.grad = self._loss_and_gradient(parameters, spool, first, last)
                optimizer.step()
                parameters[:-1].clamp_(-BOUND, BOUND)
                batch_losses.append(loss)
            losses.append(sum(batch_losses) / len(batch_losses))
            if epoch > 5 and max(abs(losses[-1] - earlier) for earlier in losses[-5:]) < SETTLED:
                break
        return parameters[:-1].clone()

    def _loss_and_gradient(self, parameters: Tensor, spool: int, first: int, last: int) -> tuple[float, Tensor]:
        """Return the negative log-likelihood per dimension of a batch, and its gradient in the log-variances."""
        log_weights = torch.full_like(parameters, -math.log(len(self._centres)))
        log_weights[-1] = 0
        log_likelihood, gradient = 0.0, torch.zeros_like(parameters)
        for distances in self._spooled(spool, first, last):
            logs = self._component_logs(distances, parameters).add_(log_weights)
            per_point = logs.logsumexp(dim=1, keepdim=True)
            shares = logs.sub_(per_point).exp_()
            gradient += (shares * distances).sum(dim=0) * torch.exp(-parameters) - self._dim * shares.sum(dim=0)
            log_likelihood += float(per_point.double().sum())
        scale = -1 / ((last - first) * self._dim)
        return log_likelihood * scale, gradient * (0.5 * scale)

    def _spooled(self, spool: int, first: int, last: int) -> Iterator[Tensor]:
        width = len(self._centres) + 1
        for start in range(first, last, self._rows_at_once):
            n_rows = min(self._rows_at_once, last - start)
            content = os.pread(spool, 4 * width * n_rows, 4 * width * start)
            rows = np.frombuffer(bytearray(content), dtype=np.float32).reshape(n_rows, width)
            yield torch.from_numpy(rows).to(self._device)
