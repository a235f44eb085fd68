"""What is asked for: tasks, tracks, methods and runs, as frozen, strict data. Never imports torch."""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dpib.errors import ConfigError

_NAME = r"[a-z0-9]+(?:[-_.][a-z0-9]+)*"
Name = Annotated[str, Field(pattern=f"^{_NAME}$", max_length=64)]
"""Identifiers in presets, records, URLs and on the command line: lower-case ASCII."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""


def canonical_json(value: Any) -> str:
    """Return the one serialisation that digests are computed over: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def describe_validation_error(error: ValidationError) -> str:
    """Return pydantic's complaints as one line per field, for a person."""
    lines = []
    errors = error.errors()
    for item in errors:
        within = (other["loc"] for other in errors if len(other["loc"]) > len(item["loc"]))
        if item["type"] == "too_short" and any(place[: len(item["loc"])] == item["loc"] for place in within):
            continue  # what is in it was refused, so pydantic counts none
        place = ".".join(str(part) for part in item["loc"]) or "value"
        got = "" if item["type"] == "missing" else f" (got {reprlib.repr(item['input'])})"
        said = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {said}{got}")
    return "; ".join(lines)


class Frozen(BaseModel):
    """Base of every specification: immutable, strict types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> str:
        """Return the canonical JSON of this value."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain JSON- or TOML-like values (lists for tuples) as strictly as JSON, which has dates as strings.

        Raises:
            pydantic.ValidationError: if a key is unknown or a value has the wrong type.
        """
        return cls.model_validate_json(json.dumps(dict(values), default=str))


class Relation(StrEnum):
    """When two datasets count as neighbours."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"


def delta_for(nominal_size: int) -> float:
    """Return δ = 1 / (N₀ ln N₀) for the *public* nominal size N₀ of the training side."""
    if nominal_size < 2:
        raise ConfigError(f"Expected a nominal size of at least 2, got {nominal_size}.")
    return 1.0 / (nominal_size * math.log(nominal_size))


class TaskInfo(Frozen):
    """The public facts a method may use freely.

    Attributes:
        dataset: name of the dataset.
        shape: (channels, height, width) of every image.
        classes: class names in label order.
        nominal_size: N₀, the public size of the training side; never ``len`` of the private data.
    """

    dataset: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    nominal_size: int

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


class ClassifierSpec(Frozen):
    """One classifier of the utility protocol: architecture name and training recipe.

    Attributes:
        decay_every: epochs between multiplications of the learning rate by ``decay_factor``; None: it stays.
        ema_decay: evaluate an exponential moving average of the parameters with this decay, warmed up as
            ``min(decay, (1 + n) / (10 + n))`` after n steps; None: evaluate the parameters themselves.
        micro_batches: parts a batch is split into, to save memory; gradients add up, batch normalisation sees a part.
    """

    name: Name
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    optimizer: Literal["adam", "sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.0, ge=0)
    decay_every: int | None = None
    decay_factor: float = 1.0
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    micro_batches: int = Field(default=1, gt=0)


class FeatureSpec(Frozen):
    """What fidelity metrics look at.

    Attributes:
        extractor: name of a feature extractor (``dpib.metrics.extractors``).
        input_size: side in pixels that images are resized to before extraction.
        n_reference: size of the fixed reference subset of real training images (None: all).
        n_synthetic: how many of the synthetic images are compared (None: all).
        neighbours: k of the k-nearest-neighbour precision and recall.
    """

    extractor: Name
    input_size: int
    n_reference: int | None
    n_synthetic: int | None
    neighbours: int = 3


class Track(Frozen):
    """The rules one result belongs to; versioned, never edited once released, only superseded.

    Attributes:
        name: name with version, e.g. ``"lite-v1"``.
        epsilons: the budgets the board ranks; any ε > 0 may be run.
        n_images: size of the synthetic set; labels are class-balanced and chosen by the harness.
        metrics: names of the metrics a complete record needs.
        optional_metrics: computed where their plugin is installed; a record is complete without them.
        classifiers: utility is the mean over these, except
        classifiers_by_dataset: on these datasets, where it is the mean over others.
        evaluation_seed: public seed of every classifier training.
    """

    name: Name
    title: str
    summary: str
    datasets: tuple[Name, ...]
    public_datasets: tuple[Name, ...]
    epsilons: tuple[float, ...]
    relation: Relation = Relation.ADD_OR_REMOVE_ONE
    accountant: Literal["pld"] = "pld"
    delta_rule: Literal["1/(N0 ln N0)"] = "1/(N0 ln N0)"
    n_images: int = Field(gt=0)
    metrics: tuple[Name, ...]
    optional_metrics: tuple[Name, ...] = ()
    primary: Name = "accuracy"
    classifiers: tuple[ClassifierSpec, ...]
    classifiers_by_dataset: Mapping[Name, tuple[ClassifierSpec, ...]] = Field(default_factory=dict)
    features: FeatureSpec | None
    evaluation_seed: int = 0
    max_hours: float | None = None

    def classifiers_for(self, dataset: str) -> tuple[ClassifierSpec, ...]:
        """Return the classifiers whose mean is the utility on a dataset."""
        return self.classifiers_by_dataset.get(dataset, self.classifiers)

    @property
    def family(self) -> str:
        """The name without its version: ``"lite"`` for ``"lite-v1"``."""
        return re.sub(r"-v\d+$", "", self.name)

    @property
    def version(self) -> int:
        """The version number at the end of the name."""
        match = re.search(r"-v(\d+)$", self.name)
        return int(match.group(1)) if match else 0


class Family(StrEnum):
    """What kind of generator a method trains."""

    EMBEDDING = "mean-embedding"
    GAN = "gan"
    DIFFUSION = "diffusion"
    LATENT_DIFFUSION = "latent-diffusion"
    API = "foundation-api"
    REFERENCE = "reference"


class MethodCard(Frozen):
    """What a method says about itself, apart from its code.

    Attributes:
        noise_location: where the method adds noise (paper, Table II); None for methods without noise.
        published_relation: neighbouring relation of the original paper (paper, Table I).
        private: False only for references that read private data without protection (ε = ∞, never ranked).
        reference: shown on every board, never ranked.
        public_data: whether the method can, must or cannot pretrain on public images.
        preludes: preludes whose query the method makes itself; they cannot be added to it.
        deviations: where this implementation departs from paper and published code, and why.
        expected_failures: checks of ``dpib check`` that fail by design, each with its reason. A method that claims to
            be private can expect no privacy check to fail.
    """

    name: Name
    title: str
    summary: str
    family: Family
    noise_location: Literal["input", "model", "output", "mix"] | None
    published_relation: Relation | None = None
    private: bool = True
    reference: bool = False
    public_data: Literal["unused", "optional", "required"] = "unused"
    paper: str = ""
    year: int | None = None
    bibtex: str = ""
    homepage: str = ""
    licence: str = "Apache-2.0"
    contact: str = ""
    preludes: tuple[Name, ...] = ()
    deviations: tuple[str, ...] = ()
    expected_failures: Mapping[Name, str] = Field(default_factory=dict)


SELECTION: Name = "select-public"
"""The prelude that selects the share of ``--public D:5%``."""

SHARE = 0.05
"""Of the public classes: what ``5%`` means in ``--public``."""

_PUBLIC = re.compile(rf"(?P<name>{_NAME})(?::(?P<share>random-5%|5%\+random-5%|5%))?")


class RunSpec(Frozen):
    """One point of the benchmark; its digest names the run folder.

    Attributes:
        public: ``"none"``, or a public dataset, optionally with a share: ``D:5%`` (privately selected),
            ``D:random-5%``, ``D:5%+random-5%``.
        pretrain: how public images are used before the private stage.
        preludes: named steps spliced in before pretraining or fine-tuning.
        variant: a named size or resolution preset of the method.
        overrides: ``--set`` values; any makes the record ``tuned``.
    """

    method: Name
    dataset: Name
    epsilon: float = Field(gt=0, le=1e6)
    seed: int = Field(default=0, ge=0, lt=2**32)
    track: Name
    public: str = "none"
    pretrain: Literal["none", "conditional", "unconditional"] = "none"
    preludes: tuple[Name, ...] = ()
    variant: Name | None = None
    overrides: Mapping[str, bool | int | float | str] = Field(default_factory=dict)

    @field_validator("public")
    @classmethod
    def _public_is_well_formed(cls, value: str) -> str:
        if not _PUBLIC.fullmatch(value):
            raise ValueError("expected a public dataset, optionally with ':5%', ':random-5%' or ':5%+random-5%'")
        return value

    @property
    def public_dataset(self) -> str | None:
        """Name of the public dataset, without its share; None when none is used."""
        match = _PUBLIC.fullmatch(self.public)
        name = match["name"] if match else "none"
        return None if name == "none" else name

    @property
    def public_share(self) -> str | None:
        """The share after the colon, or None for the whole public dataset."""
        match = _PUBLIC.fullmatch(self.public)
        return match["share"] if match else None

    @field_validator("preludes")
    @classmethod
    def _preludes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a prelude is named twice")
        return value

    @property
    def selects(self) -> bool:
        """Whether a share of the public dataset is selected privately."""
        return self.public_share in ("5%", "5%+random-5%")

    @property
    def draws(self) -> bool:
        """Whether a share of the public dataset is drawn at random."""
        return self.public_share in ("random-5%", "5%+random-5%")

    @property
    def all_preludes(self) -> tuple[str, ...]:
        """Names of the preludes in the order they run: that of a selected share comes first."""
        return ((SELECTION,) if self.selects else ()) + self.preludes

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_text(self.canonical())

    @property
    def run_id(self) -> str:
        """Name of the run folder: readable, and unique by the first eight digits of the digest."""
        return f"eps{self.epsilon:g}-seed{self.seed}-{self.digest[:8]}"
