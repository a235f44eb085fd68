"""What a record says beside ε and scores, held against its track, its card and its ledger. Imports no torch.

One function for each kind of claim: it returns what it found in words, or raises an error that says what is wrong.
``dpib verify`` and the validator of submissions ask the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpib.dataset_spec import DatasetSpec
from dpib.errors import RecordError
from dpib.metrics.selection import selection_label
from dpib.privacy.accountants import check_priceable
from dpib.privacy.events import PartitionedGaussian, PureDp, SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.records import RunRecord
from dpib.spec import Track


def require(holds: bool, message: str) -> None:
    """Raise RecordError with the message unless a claim holds."""
    if not holds:
        raise RecordError(message)


def check_rules(record: RunRecord, track: Track, card: DatasetSpec) -> str:
    """The rules of the track: preludes, settings, relation, ε, δ, number of images, balance of labels."""
    spec, privacy, synthetic = record.task.spec, record.privacy, record.synthetic
    ran = tuple(prelude.name for prelude in record.method.preludes)
    require(ran == spec.all_preludes, f"the preludes {', '.join(ran) or 'none'} ran, not those of the spec")
    require(record.method.tuned == bool(spec.overrides), "'tuned' does not say whether settings were changed")
    require(privacy.relation == track.relation, f"track {track.name} ranks {track.relation}, not {privacy.relation}")
    require(privacy.target_epsilon == spec.epsilon, "the target ε of the privacy block is not the one of the spec")
    delta = privacy.delta
    require(abs(delta - card.delta) <= 1e-12 * card.delta, f"δ = {delta:.4g}, the rule asks for {card.delta:.4g}")
    require(synthetic.count == track.n_images, f"{synthetic.count} images, the track has {track.n_images}")
    balanced = len(synthetic.per_class) == len(record.task.classes) and sum(synthetic.per_class) == synthetic.count
    balanced = balanced and max(synthetic.per_class) - min(synthetic.per_class) <= 1
    require(balanced, "the labels are not balanced over the classes")
    return f"{track.name}, ε = {spec.epsilon:g}, δ = {delta:.4g}, {privacy.relation}"


def check_data(record: RunRecord, card: DatasetSpec) -> str:
    """The data is the card's."""
    task = record.task
    same = (task.shape, task.classes, task.nominal_size) == (card.shape, card.classes, card.nominal_size)
    require(same, f"shape, classes or nominal size are not those of {card.name}")
    sides = ", ".join(sorted(task.fingerprints))
    require(
        sides == "test, train, validation", f"fingerprints of {sides or 'no side'}, not of train, validation and test"
    )
    for side, fingerprint in card.fingerprints.items():
        require(task.fingerprints[side] == fingerprint, f"the {side} side is not the one of the card")
    return f"{card.name}, {len(card.fingerprints)} sides compared"


def check_openings(record: RunRecord, lines: Sequence[Mapping[str, Any]]) -> str:
    """The ledger opens both sides once, by the rules that the record states, and no other.

    Args:
        record: what the ledger is of.
        lines: of the ledger.
    """
    openings = [line for line in lines if line.get("type") == "open"]
    expected = {"relation": record.privacy.relation, "delta": record.privacy.delta, "type": "open"}
    for side in ("train", "validation"):
        mine = [line for line in openings if line.get("side") == side]
        require(len(mine) == 1, f"the ledger opens the {side} side {len(mine)} times")
        budget, opening = mine[0].get("epsilon", "missing"), {k: v for k, v in mine[0].items() if k != "epsilon"}
        require(opening == {**expected, "side": side}, f"the ledger does not open the {side} side by these rules")
        require(budget in (record.task.spec.epsilon, None), f"the ledger's budget of the {side} side is another ε")
    require(len(openings) == 2, "the ledger opens a side that there is not")
    return f"both sides, {record.privacy.relation}"


def check_selections(record: RunRecord, track: Track, charges: Sequence[Charge]) -> str:
    """The validation side is read for choices of epochs alone, each for its share of ε, and scores rest on no other.

    A choice may be charged twice: one whose noise was lost in a crash is paid anew.
    """
    classifiers = track.classifiers_for(record.task.spec.dataset)
    share = PureDp(epsilon=record.task.spec.epsilon / len(classifiers))
    missing = {selection_label(classifier.name) for classifier in classifiers}
    labels = frozenset(missing)
    for charge in charges:
        if charge.side == "validation":
            require(charge.label in labels, f"{charge.id}: the validation side is read for something else than epochs")
            require(charge.event == share, f"{charge.id}: a choice of an epoch costs ε = {share.epsilon:.4g} here")
            missing.discard(charge.label)
    scored = any(score.protocol == "noisy-senv" and score.value is not None for score in record.scores)
    require(not (scored and missing), f"scores by Noisy SenV without a charge for '{', '.join(sorted(missing))}'")
    return f"{len(labels) - len(missing)} of {len(labels)} classifiers, ε = {share.epsilon:.4g} each"


def check_charge(charge: Charge, executed: int | None) -> None:
    """Refuse an access that the accountants could not price in time, or that did not happen as charged.

    Args:
        charge: the access.
        executed: steps that the ledger reports as executed; None where it reports none.

    Raises:
        UnsupportedMechanism: it has too little noise, or too many steps.
        RecordError: more steps were executed than charged, or sampling or parts are priced that there were not.
    """
    event = charge.event
    check_priceable(event, charge.id)
    steps = getattr(event, "steps", 1)
    require((executed or 0) <= steps, f"{charge.id}: {executed} steps of {steps} charged")
    if isinstance(event, PartitionedGaussian):
        require(charge.sampling == "parts", f"{charge.id}: parallel composition is claimed without disjoint parts")
    elif isinstance(event, SampledGaussian):
        sampled = charge.sampling == "poisson" or event.sample_rate == 1
        require(sampled, f"{charge.id}: amplification is claimed without Poisson sampling")
