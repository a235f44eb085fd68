"""Noisy sums that were planned together and are released one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dpib.errors import PrivacyError
from dpib.privacy.events import SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.rows import Statistic

if TYPE_CHECKING:
    from dpib.privacy.private import PrivateDataset


class NoisySums:
    """A planned series of noisy sums, charged as a whole before the first. See ``PrivateDataset.plan_noisy_sums``."""

    def __init__(
        self, owner: PrivateDataset, charge: Charge, clipping_norm: float, by_class: bool, continued: bool
    ) -> None:
        self._owner, self._charge, self._clipping_norm, self._by_class = owner, charge, clipping_norm, by_class
        self._next, self._continued = 0, continued

    @property
    def noise_multiplier(self) -> float:
        """Noise standard deviation over clipping norm, as charged."""
        return self._event.noise_multiplier

    @property
    def _event(self) -> SampledGaussian:
        assert isinstance(self._charge.event, SampledGaussian)
        return self._charge.event

    def release(self, statistic: Statistic, index: int | None = None) -> Tensor:
        """Return the next noisy sum.

        Args:
            statistic: see ``PrivateDataset.noisy_sum``.
            index: number of the release; by default one after the last. Needed once a run continues after a crash:
                two different sums under the noise of one release would give the difference away.

        Raises:
            PrivacyError: if all planned releases were made, ``index`` was already used, or is needed and missing.
        """
        if index is None and self._continued:
            raise PrivacyError(
                f"'{self._charge.label}' continues an interrupted run. Give release() the number of the release."
            )
        index = self._next if index is None else index
        if not self._next <= index < self._event.steps:
            raise PrivacyError(
                f"Release {index} of '{self._charge.label}' is not available: {self._event.steps} are paid for, "
                f"{self._next} are used."
            )
        self._next = index + 1
        exact = self._owner._clipped_sum(statistic, self._charge, index, self._clipping_norm, self._by_class)
        std = self._event.noise_multiplier * self._clipping_norm
        (noisy,) = self._owner._noise.add_gaussian([exact], std, self._charge.id, index)
        if self._next == self._event.steps:
            self._owner._ledger.done(self._charge, self._next)
        return noisy.float().to(self._owner._context.device)
