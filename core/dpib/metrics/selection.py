"""Where the epoch of Noisy SenV comes from: a private query in a run, the stored choice in a verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from dpib.errors import ConfigError, RecordError
from dpib.metrics.base import EpochBallot

if TYPE_CHECKING:
    from torch import Tensor

Predict = Callable[["Tensor"], "Tensor"]
"""Maps uint8 images (B, C, H, W) to int64 labels (B,)."""


def selection_label(classifier: str) -> str:
    """Return the label under which the choice of a classifier's epoch stands in the ledger."""
    return f"select epoch of {classifier}"


class PrivateBallot(Protocol):
    """One report-noisy-max query over candidates that are scored one after the other."""

    def score(self, statistic: Callable[[Tensor, Tensor], Tensor], /) -> None:
        """Score the next candidate; ``statistic`` maps images and labels (B,) to values in [0, 1] (B,)."""

    def winner(self) -> int:
        """Return the index of the noisy maximum, and nothing else."""


class PrivateValidation(Protocol):
    """The private validation side, as far as a selection may use it."""

    def noisy_argmax(self, *, n_candidates: int, epsilon: float, label: str) -> PrivateBallot:
        """Charge ``epsilon`` before any data is read and open a query over ``n_candidates``."""


class NoisySelector:
    """Choose epochs by the number of correct predictions on private validation images.

    One record changes every epoch's count by at most one and in the same direction, so one noisy maximum costs
    ``epsilon / n_classifiers``, and all of a track's classifiers together cost ``epsilon``.

    Args:
        private_validation: the validation side with its own ledger; disjoint from the training side.
        epsilon: the budget of all selections of the run together.
        n_classifiers: how many classifiers the track has.

    Raises:
        ConfigError: if ``epsilon`` or ``n_classifiers`` is not positive.

    Source:
        Report-noisy-max with one-sided noise (permute-and-flip): McKenna and Sheldon, 2020.
    """

    def __init__(self, private_validation: PrivateValidation, epsilon: float, n_classifiers: int) -> None:
        if not epsilon > 0 or n_classifiers < 1:
            raise ConfigError(
                f"Expected a positive epsilon and at least one classifier, got {epsilon} and {n_classifiers}."
            )
        self._validation = private_validation
        self._epsilon_each = epsilon / n_classifiers

    def open(self, classifier: str, n_epochs: int) -> EpochBallot:
        """Charge one selection and start it.

        Raises:
            BudgetExceeded: before any data is read.
        """
        return _NoisyBallot(
            self._validation.noisy_argmax(
                n_candidates=n_epochs, epsilon=self._epsilon_each, label=selection_label(classifier)
            )
        )


class _NoisyBallot:
    def __init__(self, ballot: PrivateBallot) -> None:
        self._ballot = ballot

    def observe(self, predict: Predict) -> None:
        self._ballot.score(lambda images, labels: (predict(images) == labels).double())

    def chosen(self) -> int:
        return self._ballot.winner()


class StoredSelector:
    """Repeat the choices of a finished run; reads no private data and costs nothing.

    Args:
        epochs: classifier -> zero-based epoch, from the record.
    """

    def __init__(self, epochs: Mapping[str, int]) -> None:
        self._epochs = dict(epochs)

    def open(self, classifier: str, n_epochs: int) -> EpochBallot:
        """Return a ballot that answers with the stored epoch.

        Raises:
            RecordError: if no epoch is stored for this classifier, or it lies outside the training.
        """
        epoch = self._epochs.get(classifier)
        if epoch is None:
            raise RecordError(f"The record stores no chosen epoch for classifier '{classifier}'.")
        if not 0 <= epoch < n_epochs:
            raise RecordError(f"Stored epoch of '{classifier}': expected 0..{n_epochs - 1}, got {epoch}.")
        return _StoredBallot(epoch)


class _StoredBallot:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def observe(self, predict: Predict) -> None:
        """Look at nothing: the choice was made when the run was."""

    def chosen(self) -> int:
        return self._epoch
