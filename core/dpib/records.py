"""The run record: one immutable, versioned, verifiable JSON document per run. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from dpib.errors import RecordError
from dpib.spec import Digest, Frozen, Name, Relation, RunSpec, canonical_json, describe_validation_error, sha256_text
from dpib.verdicts import CheckBlock

SCHEMA_VERSION: Literal[1] = 1
Protocol = Literal["noisy-senv", "synv", "senv", "testfix"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""How an epoch is chosen; the first is the benchmark's headline."""
Assurance = Literal["no-access", "mechanism", "declared", "non-private"]


class Score(Frozen):
    """One number, or the reason why there is none.

    Attributes:
        metric: e.g. ``"accuracy"``.
        value: None if undefined; then ``reason`` says why. JSON never carries NaN.
        classifier: for utility, the classifier; None for the mean over the track's classifiers.
        protocol: for utility, how the epoch was chosen.
        epoch: zero-based epoch that ``value`` was read at.
        private_selection: True iff the choice of epoch is differentially private or needs no private data.
        stderr: standard error from the finite test set, in the unit of ``value``.
        evaluator: what computed it, with the digest of any weights.
    """

    metric: Name
    value: float | None
    reason: str | None = None
    higher_is_better: bool
    classifier: Name | None = None
    protocol: Protocol | None = None
    epoch: int | None = None
    private_selection: bool = True
    n_synthetic: int | None = None
    stderr: float | None = None
    evaluator: str = ""
    seed: int | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Score:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"score '{self.metric}' needs either a value or a reason why it is undefined")
        return self

    @property
    def label(self) -> str:
        """How people are told which score it is, e.g. ``"accuracy noisy-senv"``."""
        return " ".join(filter(None, (self.metric, self.protocol, self.classifier)))


class Who(Frozen):
    """Who ran it. Empty until submitted."""

    account: str | None = None
    organisation: str | None = None
    contact: str | None = None
    authors_of_method: bool | None = None


class PreludeBlock(Frozen):
    """Which prelude with which settings; see ``MethodBlock``."""

    name: Name
    distribution: str
    version: str
    source_digest: Digest
    config: Mapping[str, Any]
    layers: tuple[str, ...]
    changed: tuple[str, ...]


class MethodBlock(Frozen):
    """Which code with which settings.

    Attributes:
        source_digest: SHA-256 over the sources of the package (or file) that brought the method.
        config: resolved hyper-parameters.
        layers: preset layers that applied, in order.
        changed: names of hyper-parameters that differ from the class's defaults.
        tuned: True iff ``--set`` was used.
        public_data: public datasets used, with fingerprints of the whole, whatever share was taken, and pretrained
            weights that settings name, with their SHA-256.
        preludes: what ran before the method's own stages, in order. Absent from the document where there is none, so
            that records from before preludes keep their ids.
    """

    name: Name
    title: str
    distribution: str
    version: str
    api_version: tuple[int, int]
    source_digest: Digest
    config: Mapping[str, Any]
    layers: tuple[str, ...]
    changed: tuple[str, ...]
    tuned: bool
    parameters: int | None = None
    public_data: Mapping[str, str] = Field(default_factory=dict)
    reference: bool = False
    preludes: tuple[PreludeBlock, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        if not self.preludes:
            content.pop("preludes", None)
        return content


class TaskBlock(Frozen):
    """What was asked: the spec, and the data it ran on."""

    spec: RunSpec
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    nominal_size: int
    data_source: str
    fingerprints: Mapping[str, Digest]


class EventSummary(Frozen):
    """One access to private data, as it stands in the ledger."""

    id: str
    side: Literal["train", "validation"]
    label: str
    event: Mapping[str, Any]
    sensitivity: float | None
    norm: str | None
    sampling: Literal["full", "poisson", "parts"]
    assurance: Assurance
    steps_executed: int | None
    notes: str = ""


class PrivacyBlock(Frozen):
    """What was promised, what was spent, and how it is known.

    Attributes:
        target_epsilon: ε asked for.
        spent_epsilon: ε of the ledger by the track's accountant: the larger of the two sides, which are
            disjoint (parallel composition); None if non-private.
        second_opinion: the same by the second accountant.
        ledger_digest: SHA-256 of ``ledger.jsonl``.
        attempts: runs of this method on this dataset and ε found in the same runs folder, this one included.
    """

    target_epsilon: float
    spent_epsilon: float | None
    spent_by_side: Mapping[str, float | None]
    delta: float = Field(gt=0, lt=1)
    relation: Relation
    unit: str
    accountant: str
    second_opinion: float | None
    second_accountant: str
    assurance: Assurance
    events: tuple[EventSummary, ...]
    label_shares: str
    noise_source: str
    float_safe: bool
    tuning: str
    attempts: int = Field(ge=1)
    ledger_digest: Digest
    statement: str


class SyntheticBlock(Frozen):
    """The synthetic set. ``digest`` is over pixels and labels, not over the file."""

    digest: Digest
    count: int
    per_class: tuple[int, ...]
    file: str = "images.parquet"
    withheld: str | None = None
    grid: str = "grid.png"


class CostBlock(Frozen):
    """What it took. Seconds by stage over all sessions of the run."""

    device: str
    hardware: str
    seconds: Mapping[str, float]
    total_seconds: float
    peak_memory_bytes: int
    peak_gpu_bytes: int | None = None


class EnvironmentBlock(Frozen):
    """Where it ran."""

    os: str
    python: str
    packages: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    core_digest: Digest


class RunRecord(Frozen):
    """Everything about one run; ``id`` is the SHA-256 of the canonical JSON of the rest.

    Attributes:
        status: ``complete``: every metric of the track has a value. ``partial``: some score is undefined.
        check: what ``dpib check`` said of the very code that ran; None if it was never asked. Absent from the document
            then, so that records from before it keep their ids.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: Digest
    created: str
    status: Literal["complete", "partial"]
    supersedes: Digest | None = None
    invalidated: str | None = None
    who: Who = Field(default_factory=Who)
    method: MethodBlock
    task: TaskBlock
    privacy: PrivacyBlock
    scores: tuple[Score, ...]
    synthetic: SyntheticBlock
    cost: CostBlock
    environment: EnvironmentBlock
    check: CheckBlock | None = None

    @classmethod
    def build(cls, **blocks: Any) -> RunRecord:
        """Return the record of these blocks with its id computed."""
        draft = cls(id="0" * 64, **blocks)
        return draft.model_copy(update={"id": draft.content_digest})

    def superseding(self, earlier: RunRecord) -> RunRecord:
        """Return this record marked as the successor of an earlier one."""
        draft = self.model_copy(update={"supersedes": earlier.id})
        return draft.model_copy(update={"id": draft.content_digest})

    @property
    def content_digest(self) -> str:
        """SHA-256 of the canonical JSON without the id."""
        content = self.to_plain()
        del content["id"]
        return sha256_text(canonical_json(content))

    def to_plain(self) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        content = self.model_dump(mode="json")
        if self.check is None:
            del content["check"]
        return content

    def to_json(self) -> str:
        """Return the document as stored: canonical content, indented for people."""
        return json.dumps(self.to_plain(), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def score(self, metric: str, protocol: str | None = None, classifier: str | None = None) -> Score | None:
        """Return the score with this key, or None."""
        for item in self.scores:
            if (item.metric, item.protocol, item.classifier) == (metric, protocol, classifier):
                return item
        return None


def settings_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a method block of plain values, those of preludes as ``PRELUDE.setting``."""
    settings = dict(method["config"])
    for prelude in method.get("preludes", ()):
        settings |= {f"{prelude['name']}.{key}": value for key, value in prelude["config"].items()}
    return settings


def is_taken_back(folder: Path, record: str, invalidated: str | None) -> bool:
    """Return whether a record is no result: it was invalidated, or the review beside it refused it or was taken back.

    Args:
        folder: of the record.
        record: its id; a review of another record says nothing of it.
        invalidated: as the record says.

    Raises:
        RecordError: if there is a review that cannot be read.
    """
    path = folder / "review.json"
    try:
        review = json.loads(path.read_bytes())
        of_it = review["record"] == record
        return invalidated is not None or (of_it and not (review["accepted"] and review.get("invalidated") is None))
    except FileNotFoundError:
        return invalidated is not None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is not a review: {error}") from error


def load_record(path: Path) -> RunRecord:
    """Read and validate one record.

    Raises:
        RecordError: if it cannot be read, is not JSON, of an unknown schema, or its id is not its content's digest.
    """
    try:
        text = path.read_text()
        plain = json.loads(text)
    except FileNotFoundError as error:
        raise RecordError(f"No record at {path}: the run is unfinished or the path is wrong.") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is not a JSON document: {error}") from error
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version != SCHEMA_VERSION:
        raise RecordError(f"{path}: expected record schema {SCHEMA_VERSION}, got {version!r}. Update dpib or the file.")
    try:
        record = RunRecord.model_validate_json(text)
    except ValidationError as error:
        raise RecordError(f"{path}: {describe_validation_error(error)}") from error
    if record.id != record.content_digest:
        raise RecordError(f"{path}: the id does not match the content; the record was edited.")
    return record


def record_json_schema() -> dict[str, Any]:
    """Return the JSON schema of records, as exported to ``submissions/record.schema.json``."""
    return RunRecord.model_json_schema()
