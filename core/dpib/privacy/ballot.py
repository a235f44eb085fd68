"""One private choice among candidates, by report-noisy-max."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dpib.errors import PrivacyError
from dpib.privacy.events import PureDp
from dpib.privacy.ledger import Charge
from dpib.spec import Relation

if TYPE_CHECKING:
    from dpib.privacy.private import PrivateDataset


class Ballot:
    """One private choice among candidates, charged before the first is scored. See ``PrivateDataset.noisy_argmax``."""

    def __init__(self, owner: PrivateDataset, charge: Charge, n_candidates: int) -> None:
        self._owner, self._charge = owner, charge
        self._totals: list[float] = []
        self._n_candidates = n_candidates

    def score(self, per_record: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Score the next candidate.

        Args:
            per_record: maps images uint8 (B, C, H, W) and labels (B,) to scores (B,), e.g. 1 for a correct
                prediction; clamped to [0, 1], so that one record moves every total by at most 1, all upwards. It may
                draw random numbers as a ``Statistic`` may.

        Raises:
            PrivacyError: if all candidates were scored, or there is not one score per record.
        """
        if len(self._totals) >= self._n_candidates:
            raise PrivacyError(f"'{self._charge.label}' was charged for {self._n_candidates} candidates, not more.")
        total = 0.0
        with self._owner._noise.secret_torch("ballot", self._charge.id, len(self._totals)):
            for images, labels in self._owner._chunks(torch.arange(len(self._owner._data))):
                scores = per_record(images, labels).detach()
                if scores.shape != labels.shape:
                    raise PrivacyError(f"'{self._charge.label}': expected one score per record, got another shape.")
                total += float(scores.double().nan_to_num(0.0).clamp(0, 1).sum())
        self._totals.append(total)

    def winner(self) -> int:
        """Return the index of the noisily best candidate; nothing else is released.

        Adds exponential noise of scale 1/ε to each total: ε-DP for monotone scores (permute-and-flip; privacy 5).
        Under replace-one a record moves totals up and down: the scale is 2/ε.
        """
        if len(self._totals) != self._n_candidates:
            raise PrivacyError(f"'{self._charge.label}': {len(self._totals)} of {self._n_candidates} were scored.")
        assert isinstance(self._charge.event, PureDp)
        totals = torch.tensor(self._totals, dtype=torch.float64)
        shift = 1 if self._owner._ledger.relation is Relation.ADD_OR_REMOVE_ONE else 2
        noisy = self._owner._noise.add_exponential(totals, shift / self._charge.event.epsilon, self._charge.id)
        self._owner._ledger.done(self._charge, 1)
        return int(noisy.argmax())
