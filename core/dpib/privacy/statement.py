"""The privacy statement of a run in plain words, generated from the ledger and never typed. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import TYPE_CHECKING

from dpib.dataset_spec import DatasetSpec
from dpib.privacy.events import NonPrivate, PartitionedGaussian, PureDp

if TYPE_CHECKING:
    from dpib.privacy.ledger import Charge

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_AGREEMENT = 2e-3
"""Largest relative difference of figures: of ε between versions of the accountants, and of four digits by rounding."""
_ADDED = "the time and memory that the run took; "
"""What statements of the first records did not say yet."""


def round_up(value: float) -> str:
    """Return a number with four significant digits that is never below the value."""
    return _rounded(value, ROUND_UP)


def round_down(value: float) -> str:
    """Return a number with four significant digits that is never above the value."""
    return _rounded(value, ROUND_DOWN)


def _rounded(value: float, rounding: str) -> str:
    exponent = math.floor(math.log10(value)) - 3 if 0 < value < math.inf else 0
    return f"{float(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(exponent), rounding)):.4g}"


def describe_charge(charge: Charge) -> str:
    """Return one access in words."""
    event = charge.event
    if isinstance(event, NonPrivate):
        return f"{charge.label}: raw records, unprotected"
    if isinstance(event, PureDp):
        return f"{charge.label}: report-noisy-max, ε = {round_up(event.epsilon)}"
    times = "one release" if event.steps == 1 else f"{event.steps} releases"
    if isinstance(event, PartitionedGaussian):
        return (
            f"{charge.label}: {times}, parallel over {event.parts} disjoint parts of the records, at most "
            f"{event.steps_per_part} on each, Gaussian noise of {event.noise_multiplier:.4g} times the sensitivity"
        )
    sampling = "of all records" if event.sample_rate >= 1 else f"on Poisson samples at rate {event.sample_rate:.4g}"
    return f"{charge.label}: {times} {sampling}, Gaussian noise of {event.noise_multiplier:.4g} times the sensitivity"


def privacy_statement(
    dataset: DatasetSpec, charges: Sequence[Charge], epsilon: float | None, second: float | None, delta: float
) -> str:
    """Return who is protected, how, by which accesses, and what is not covered."""
    if epsilon is None:
        return (
            f"NOT PRIVATE. This reference reads the images of {dataset.title} without protection; it shows a ceiling "
            "and must never be released as private data."
        )
    accesses = "; ".join(describe_charge(charge) for charge in charges) or "none: no private image was read"
    declared = any(charge.assurance == "declared" for charge in charges)
    opinion = f" (Rényi accountant: {round_up(second)})" if second is not None else ""
    return (
        f"Protected: each single record of {dataset.title} ({dataset.privacy_unit} with its label), under "
        f"add-or-remove-one. Guarantee: ({round_up(epsilon)}, {round_up(delta)})-differential privacy by privacy loss "
        f"distributions{opinion}; training and validation side are disjoint, the larger of the two counts. "
        f"Accesses: {accesses}. "
        + ("Some accesses are priced as their author declares, not by a mechanism of the harness. " if declared else "")
        + f"Public by assumption: the nominal size {dataset.nominal_size}, the class list, the image shape, the "
        "hyper-parameters. Not covered: the scores, which compare with real images exactly; the time and memory that "
        "the run took; the tuning of presets; "
        "floating-point effects of the noise; several records of one person."
    )


def same_statement(ours: str, theirs: str) -> bool:
    """Return whether two statements say the same: the same words, and figures that differ by rounding alone."""
    ours, theirs = (text.replace(_ADDED, "") for text in (ours, theirs))
    figures = ([float(number) for number in _NUMBER.findall(text)] for text in (ours, theirs))
    return _NUMBER.sub("#", ours) == _NUMBER.sub("#", theirs) and all(
        math.isclose(mine, other, rel_tol=_AGREEMENT) for mine, other in zip(*figures, strict=True)
    )
