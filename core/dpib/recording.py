"""Puts a finished run together into its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch

from dpib.__about__ import API_VERSION
from dpib.catalogue import InstalledMethod
from dpib.data.images import LabelledImages
from dpib.dataset_spec import DatasetSpec
from dpib.evaluation import is_complete
from dpib.machine import CostClock, environment
from dpib.privacy import noise
from dpib.privacy.accountants import describe
from dpib.privacy.ledger import Charge, PrivacyLedger, parse_charges
from dpib.privacy.statement import privacy_statement
from dpib.records import (
    Assurance,
    EventSummary,
    MethodBlock,
    PrivacyBlock,
    RunRecord,
    Score,
    SyntheticBlock,
    TaskBlock,
)
from dpib.spec import Track
from dpib.verdicts import CheckBlock, VerdictStore
from dpib.workspace import RunPlan, Workspace

LABEL_SHARES = "uniform, chosen by the harness; the private label histogram is not used"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def assurance_of(charges: Sequence[Charge]) -> Assurance:
    """Return who vouches for the weakest access to the training side."""
    kinds = {charge.assurance for charge in charges if charge.side == "train"}
    for weakest in ("non-private", "declared", "mechanism"):
        if weakest in kinds:
            return weakest
    return "no-access"


def summarise(charge: Charge, executed: int | None) -> EventSummary:
    """Return a charge as records show it."""
    fields = charge.model_dump(mode="json", exclude={"session"})
    return EventSummary.from_plain({**fields, "steps_executed": executed})


def privacy_block(
    workspace: Workspace, dataset: DatasetSpec, track: Track, ledgers: tuple[PrivacyLedger, ...], tuned: bool
) -> PrivacyBlock:
    """Return what was spent on both sides; they are disjoint, so the larger counts."""
    file = workspace.ledger_file()
    charges, executed = parse_charges(file.lines)
    by_side = {ledger.side: ledger.spent() for ledger in ledgers}
    spent = _finite(max(by_side.values()))
    second = _finite(max(ledger.spent("rdp") for ledger in ledgers))
    return PrivacyBlock(
        target_epsilon=workspace.spec.epsilon,
        spent_epsilon=spent,
        spent_by_side={side: _finite(value) for side, value in by_side.items()},
        delta=dataset.delta,
        relation=track.relation,
        unit=dataset.privacy_unit,
        accountant=describe(track.accountant),
        second_opinion=second,
        second_accountant=describe("rdp"),
        assurance=assurance_of(charges),
        events=tuple(summarise(charge, executed.get(charge.id)) for charge in charges),
        label_shares=LABEL_SHARES,
        noise_source=noise.DESCRIPTION,
        float_safe=False,
        tuning="not accounted: settings changed by --set" if tuned else "not accounted: presets were tuned beforehand",
        attempts=workspace.attempts(),
        ledger_digest=file.digest,
        statement=privacy_statement(dataset, charges, spent, second, dataset.delta),
    )


def check_block(workspace: Workspace, plan: RunPlan) -> CheckBlock | None:
    """Return what ``dpib check`` found about the code of this run; None if it was never checked in this runs folder."""
    verdict = VerdictStore(workspace.runs).find(plan.spec.method, plan.method_digest, plan.core_digest)
    return None if verdict is None else verdict.summary()


def build_record(
    workspace: Workspace,
    plan: RunPlan,
    method: InstalledMethod,
    track: Track,
    dataset: DatasetSpec,
    fingerprints: dict[str, str],
    data_source: str,
    public_data: Mapping[str, str],
    ledgers: tuple[PrivacyLedger, ...],
    synthetic: LabelledImages,
    scores: tuple[Score, ...],
    clock: CostClock,
    device: str,
    parameters: int | None,
) -> RunRecord:
    """Return the record of a finished run."""
    tuned = bool(plan.spec.overrides)
    return RunRecord.build(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="complete" if is_complete(scores) else "partial",
        method=MethodBlock(
            name=method.card.name,
            title=method.card.title,
            distribution=plan.distribution,
            version=plan.version,
            api_version=API_VERSION,
            source_digest=plan.method_digest,
            config=plan.config,
            layers=plan.layers,
            changed=plan.changed,
            tuned=tuned,
            parameters=parameters,
            public_data=public_data,
            reference=method.card.reference,
            preludes=plan.preludes,
        ),
        task=TaskBlock(
            spec=plan.spec,
            shape=dataset.shape,
            classes=dataset.classes,
            nominal_size=dataset.nominal_size,
            data_source=data_source,
            fingerprints=fingerprints,
        ),
        privacy=privacy_block(workspace, dataset, track, ledgers, tuned),
        scores=scores,
        synthetic=SyntheticBlock(
            digest=synthetic.fingerprint,
            count=len(synthetic),
            per_class=tuple(torch.bincount(synthetic.labels, minlength=len(dataset.classes)).tolist()),
        ),
        cost=clock.block(device),
        environment=environment(),
        check=check_block(workspace, plan),
    )
