"""The privacy statement of a release in plain words, written from the certificate and never typed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpib.privacy.events import NonPrivate, PartitionedGaussian, PureDp
from dpib.privacy.ledger import Charge
from dpib.privacy.statement import describe_charge, round_down, round_up

if TYPE_CHECKING:
    from dpib.owner.certificate import Certificate, Guarantee
    from dpib.privacy.groups import GroupGuarantee

ASSUMPTIONS = (
    "The nominal size, the class list, the image size, grey or colour, the window, the method, its settings and ε were "
    "chosen from public knowledge, not by looking at these images or at results on them.",
    "Labels are as the owner gave them: a label is part of its record and is protected with it.",
    "Each image was prepared by itself with public constants; nothing was normalised by figures of the collection.",
    "The code of the method and of dpib did what it says; the secret of the noise came from the operating system and "
    "is deleted.",
)

NOT_COVERED = (
    "Other releases from the same images: their budgets add up, also those of runs that were tried and thrown away.",
    "What is known about a person without their record: a synthetic set may show that a disease looks a certain way.",
    "Other images of the same person beyond the group guarantee, and what others hold about them.",
    "Scores that compare with the real images, such as a private report: not part of this release and not protected.",
    "That the release exists: it shows that every input file could be read.",
    "The time and memory that the run took, to somebody who could watch the machine.",
    "Floating-point effects of the noise; the samplers are not proven against them.",
    "Rights in the images, consent, and what data protection law asks for beyond differential privacy.",
)


def describe_sampling(charge: Charge, executed: int | None) -> str:
    """Return what the accountant assumes about who enters an access, and what was performed."""
    event = charge.event
    if isinstance(event, NonPrivate | PureDp):
        return f"{charge.label}: all records"
    assumed = "every record in every release"
    performed = "the same"
    if isinstance(event, PartitionedGaussian):
        assumed = (
            f"each record enters the releases of one of {event.parts} disjoint parts, {event.steps_per_part} at most; "
            "its part depends on the record alone, the turn of the parts is public"
        )
    elif event.sample_rate < 1:
        assumed = f"each record enters each release independently with probability {event.sample_rate:.6g} (Poisson)"
        performed = "the same, drawn by the harness from the secret that makes the noise"
    if charge.assurance == "declared":
        performed = "as the method's author declares; the harness did not see it"
    done = "an unknown number" if executed is None else str(executed)
    return f"{charge.label}: assumed: {assumed}; performed: {performed}; {done} of {event.steps} releases made"


def _meaning(epsilon: float) -> str:
    factor = round_up(math.exp(epsilon)) if epsilon < 700 else "beyond all bounds"
    wrong = round_down(100 / (1 + math.exp(min(epsilon, 700))))
    return (
        f"Whatever somebody computes from the release, its probability changes by at most a factor e^ε = {factor} "
        f"(and, beyond that, by δ) if one record is added or removed. An attacker who thinks it equally likely "
        f"that a record was in the collection or not is wrong about it in at least {wrong} % of cases (less "
        f"about δ). That is a bound for the worst case, not an expectation."
    )


def _remark(stated: Guarantee | GroupGuarantee, nominal_size: int) -> str:
    """Return what to say of a guarantee without value: e^ε beyond all use, or a δ that allows to publish a record."""
    weak = stated.epsilon >= 20 or stated.delta >= 1 / nominal_size
    return " **At this size the figures mean no protection worth the name.**" if weak else ""


def _listed(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)


def write_statement(certificate: Certificate) -> str:
    """Return the statement as Markdown: who is protected, how, by what, and what is not covered."""
    request, guarantee, method = certificate.request, certificate.guarantee, certificate.method
    group = guarantee.group
    if group is None:
        people = (
            "The guarantee is for single images. Somebody with several images in the collection is protected less; how "
            "much less was not asked for (`--images-per-person K`)."
        )
    else:
        people = (
            f"For a person with up to {group.size} images: ({round_up(group.epsilon)}, {round_up(group.delta)})-"
            f"differential privacy.{_remark(group, request.nominal_size)} Formula: {group.formula}."
        )
    remark = _remark(guarantee, request.nominal_size)
    size = f"{request.nominal_size:,} ({request.size_is})"
    if request.size_is != "stated":
        size += ". The count is therefore not protected"
    names = ", ".join(request.classes[:20]) + (", …" if len(request.classes) > 20 else "")
    public = ", ".join(method.public_data) or "none"
    declared = (
        "\nSome accesses are priced as their author declares, not by a mechanism of the harness.\n"
        if guarantee.assurance == "declared"
        else ""
    )
    accesses = [
        describe_charge(Charge.from_plain(event.model_dump(mode="json", exclude={"steps_executed"})))
        for event in guarantee.events
    ] or ["none: no image was read by the method"]
    opinion = "none" if guarantee.second_opinion is None else round_up(guarantee.second_opinion)
    return f"""# Privacy statement: {certificate.synthetic.count:,} synthetic images made from {request.title}

## Who is protected
Every single record of the collection: {guarantee.unit}. Relation: {guarantee.relation.value}; the collection with and
without the record cannot be told apart better than the guarantee says.

## Guarantee
**({round_up(guarantee.epsilon)}, {round_up(guarantee.delta)})-differential privacy**
(asked for: ε = {guarantee.target_epsilon:g}; δ = 1/(N₀ ln N₀)).{remark}
Accountant: {guarantee.accountant}; second opinion, {guarantee.second_accountant}: ε = {opinion}.

{_meaning(guarantee.epsilon)}

{people}

It covers everything in this release: images, labels, sample grid, certificate and this statement.

## How the images were used
Method: {method.title} {method.version} ({method.distribution}), with the settings of the dataset
`{certificate.spec.dataset}` in the track `{certificate.spec.track}`. Public images: {public}.

Accesses:
{_listed(tuple(accesses))}
{declared}
Sampling assumed and performed:
{_listed(guarantee.sampling) or "- none"}

Noise: {guarantee.noise_source}. Labels: {guarantee.label_shares}. All images were used; none was set aside, and no
model was chosen by looking at them.

## Public by assumption
- Nominal size N₀: {size}.
- Classes: {len(request.classes)}, {request.classes_are}: {names}.
- Preparation: {certificate.preprocessing}.

{_listed(certificate.assumptions)}

## Not covered
{_listed(certificate.not_covered)}
- Tuning: {guarantee.tuning}.
"""
