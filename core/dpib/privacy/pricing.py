"""The join with dp-accounting: lists of Gaussian events into its trees; ε and δ out of them.

The mixtures that price a group of records are in ``groups``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import dp_accounting
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from dpib.errors import UnsupportedMechanism
from dpib.privacy.events import SampledGaussian
from dpib.spec import Relation

if TYPE_CHECKING:
    from dpib.privacy.accountants import AccountantName

_RELATIONS = {
    Relation.ADD_OR_REMOVE_ONE: dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE: dp_accounting.NeighboringRelation.REPLACE_ONE,
}

# RDP warns about orders that do not converge at small noise; those orders are left out, which is sound.
logging.getLogger("absl").setLevel(logging.ERROR)


def _tree(events: Iterable[SampledGaussian]) -> dp_accounting.DpEvent:
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        steps[event.noise_multiplier, event.sample_rate] += event.steps
    parts = []
    for (noise_multiplier, sample_rate), count in steps.items():
        one: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise_multiplier)
        if sample_rate < 1:
            one = dp_accounting.PoissonSampledDpEvent(sample_rate, one)
        parts.append(dp_accounting.SelfComposedDpEvent(one, count))
    return dp_accounting.ComposedDpEvent(parts)


_BUCKETS = 1e-4
"""Width of the buckets of privacy loss that every published ε is computed with; dp-accounting's default."""


def _fresh(accountant: AccountantName, relation: Relation, buckets: float) -> dp_accounting.PrivacyAccountant:
    neighbours = _RELATIONS[relation]
    if accountant == "pld":
        return PLDAccountant(neighboring_relation=neighbours, value_discretization_interval=buckets)
    return RdpAccountant(neighboring_relation=neighbours)


def price(
    events: Iterable[SampledGaussian],
    delta: float,
    accountant: AccountantName,
    relation: Relation,
    buckets: float = _BUCKETS,
) -> float:
    """Return the accountant's ε at ``delta`` of the composition of ``events``.

    Args:
        events: what was released.
        delta: δ of the guarantee.
        accountant: whose number.
        relation: when two datasets count as neighbours.
        buckets: width of PLD's buckets of privacy loss; wider ones are faster and give a larger ε.

    Raises:
        UnsupportedMechanism: if the accountant cannot price an event under the relation.
    """
    try:
        return float(_fresh(accountant, relation, buckets).compose(_tree(events)).get_epsilon(delta))
    except dp_accounting.UnsupportedEventError as error:
        raise UnsupportedMechanism(f"{accountant.upper()} cannot price this under {relation}: {error}") from error


def privacy_profile(
    events: Sequence[SampledGaussian],
    epsilons: Sequence[float],
    discretisation: float = _BUCKETS,
) -> list[float]:
    """Return δ(ε) of the composition of Gaussian events at each of ``epsilons``, by PLD: its pessimistic end.

    Args:
        events: what was released; neighbours differ by one record more or less.
        epsilons: where to take δ.
        discretisation: width of the buckets of privacy loss; wider ones are faster and give a larger δ.
    """
    neighbours = _RELATIONS[Relation.ADD_OR_REMOVE_ONE]
    accountant = PLDAccountant(neighboring_relation=neighbours, value_discretization_interval=discretisation)
    accountant.compose(_tree(events))
    return [float(accountant.get_delta(one)) for one in epsilons]
