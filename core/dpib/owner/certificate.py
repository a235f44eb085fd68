"""The certificate of a release: what is guaranteed, how it is known, and nothing about the images it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError

from dpib.__about__ import API_VERSION
from dpib.data.images import LabelledImages
from dpib.errors import PrivacyError, RecordError
from dpib.machine import environment
from dpib.owner.request import OwnerJob, Plan, Request
from dpib.owner.statement import ASSUMPTIONS, NOT_COVERED, describe_sampling, write_statement
from dpib.privacy import noise
from dpib.privacy.accountants import describe, epsilon
from dpib.privacy.groups import GroupGuarantee, group_guarantee
from dpib.privacy.ledger import Charge
from dpib.recording import LABEL_SHARES, assurance_of, summarise
from dpib.records import Assurance, EnvironmentBlock, EventSummary, MethodBlock
from dpib.spec import Digest, Frozen, Relation, RunSpec, canonical_json, describe_validation_error, sha256_text

_ROUNDING = 1e-9


class Guarantee(Frozen):
    """What was promised and spent. ``group`` is for K images of one person, if K > 1.

    Attributes:
        epsilon: ε of the accesses by PLD, at ``delta``; never above ``target_epsilon``.
        second_opinion: the same by the Rényi accountant.
        sampling: per access: what the accountant assumes, what was performed.
    """

    unit: str = "one image with its label"
    relation: Relation = Relation.ADD_OR_REMOVE_ONE
    target_epsilon: float
    epsilon: float
    delta: float
    accountant: str
    second_opinion: float | None
    second_accountant: str
    group: GroupGuarantee | None
    assurance: Assurance
    events: tuple[EventSummary, ...]
    sampling: tuple[str, ...]
    label_shares: str = LABEL_SHARES
    noise_source: str = noise.DESCRIPTION
    float_safe: bool = False
    tuning: str


class ReleasedImages(Frozen):
    """The synthetic set; ``digest`` is over its pixels and labels, not over a file."""

    digest: Digest
    count: int
    per_class: tuple[int, ...]
    file: str


class Certificate(Frozen):
    """Everything about one release; ``id`` is the SHA-256 of the canonical JSON of the rest.

    Attributes:
        created: the day, UTC. How long the run took is not said: it depends on how many images there are.
        spec: the run of the benchmark whose settings were used.
    """

    schema_version: Literal[1] = 1
    kind: Literal["dpib-release-certificate"] = "dpib-release-certificate"
    id: Digest
    created: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    request: Request
    spec: RunSpec
    preprocessing: str
    method: MethodBlock
    guarantee: Guarantee
    synthetic: ReleasedImages
    environment: EnvironmentBlock
    assumptions: tuple[str, ...] = ASSUMPTIONS
    not_covered: tuple[str, ...] = NOT_COVERED
    statement: str

    @property
    def content_digest(self) -> str:
        """SHA-256 of the canonical JSON without the id."""
        content = self.model_dump(mode="json")
        del content["id"]
        return sha256_text(canonical_json(content))

    def to_json(self) -> str:
        """Return the document as stored."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"


def load_certificate(path: Path) -> Certificate:
    """Read and validate a certificate.

    Raises:
        RecordError: if it is missing, malformed, or its id is not its content's digest.
    """
    try:
        certificate = Certificate.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"No certificate at {path}: {error.strerror}.") from error
    except ValidationError as error:
        raise RecordError(f"{path}: {describe_validation_error(error)}") from error
    if certificate.id != certificate.content_digest:
        raise RecordError(f"{path}: the id does not match the content; the certificate was edited.")
    return certificate


def group_for(charges: Sequence[Charge], job: OwnerJob) -> GroupGuarantee | None:
    """Return what the charges guarantee to a person with as many images as was stated; None for one image."""
    size = job.request.images_per_person
    if size == 1:
        return None
    spent = epsilon([charge.event for charge in charges], job.delta, "pld")
    return group_guarantee(charges, spent, job.delta, size)


def _guarantee(job: OwnerJob, charges: Sequence[Charge], executed: Mapping[str, int]) -> Guarantee:
    events = [charge.event for charge in charges]
    target = job.settings.spec.epsilon
    spent = epsilon(events, job.delta, "pld")
    overrun = [c.label for c in charges if executed.get(c.id, 0) > getattr(c.event, "steps", 1)]
    if overrun or not spent <= target * (1 + _ROUNDING):
        raise PrivacyError(f"The ledger does not bear the promised ε = {target:g}: it says {spent:.4g}. {overrun}")
    second = epsilon(events, job.delta, "rdp")
    return Guarantee(
        target_epsilon=target,
        epsilon=spent,
        delta=job.delta,
        accountant=describe("pld"),
        second_opinion=second if math.isfinite(second) else None,
        second_accountant=describe("rdp"),
        group=group_for(charges, job),
        assurance=assurance_of(charges),
        events=tuple(summarise(charge, executed.get(charge.id)) for charge in charges),
        sampling=tuple(describe_sampling(charge, executed.get(charge.id)) for charge in charges),
        tuning="not accounted: the presets were tuned beforehand, on other data"
        + ("; settings were changed by --set" if job.settings.spec.overrides else ""),
    )


def build_certificate(
    job: OwnerJob,
    plan: Plan,
    charges: Sequence[Charge],
    executed: Mapping[str, int],
    synthetic: LabelledImages,
    public_data: Mapping[str, str],
    parameters: int | None,
    file: str,
) -> Certificate:
    """Return the certificate of a finished release.

    Args:
        job: what was asked for.
        plan: with which code and settings.
        charges: every access to the images.
        executed: steps per charge.
        synthetic: the images to be released.
        public_data: what public images and weights were used; see ``Job.public_data``.
        parameters: number of parameters of the method's networks.
        file: name of the images in the release.

    Raises:
        PrivacyError: if the ledger does not bear what was promised. Nothing must be released then.
    """
    card, request, settings = job.settings.method.card, job.request, plan.settings
    guarantee = _guarantee(job, charges, executed)
    blocks: dict[str, Any] = {
        "created": datetime.now(UTC).date().isoformat(),
        "request": request,
        "spec": settings.spec,
        "preprocessing": request.preprocessing.describe(),
        "method": MethodBlock(
            name=card.name,
            title=card.title,
            distribution=settings.distribution,
            version=settings.version,
            api_version=API_VERSION,
            source_digest=settings.method_digest,
            config=settings.config,
            layers=settings.layers,
            changed=settings.changed,
            tuned=bool(settings.spec.overrides),
            parameters=parameters,
            public_data=public_data,
            reference=card.reference,
            preludes=settings.preludes,
        ),
        "guarantee": guarantee,
        "synthetic": ReleasedImages(
            digest=synthetic.fingerprint,
            count=len(synthetic),
            per_class=tuple(torch.bincount(synthetic.labels, minlength=len(request.classes)).tolist()),
            file=file,
        ),
        "environment": environment(),
    }
    draft = Certificate(id="0" * 64, statement="", **blocks)
    draft = draft.model_copy(update={"statement": write_statement(draft)})
    return draft.model_copy(update={"id": draft.content_digest})
