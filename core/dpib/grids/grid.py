"""A grid file: the runs of an experiment as axes that are multiplied out. Imports no torch.

::

    title = "Utility"
    paper = "VIII"                       # the paper's table that stands beside it in a report

    [base]                               # axes of every block below that does not name them itself
    track = "demo"
    datasets = ["digits"]
    seeds = [0, 1, 2]

    [[runs]]                             # every combination of the axes is one run
    methods = ["dp-merf", "uniform"]
    epsilons = [1, 10]

    [[rows]]                             # one value of each, in the singular; the rest comes from the base
    method = "dp-merf"
    epsilon = 0.2

An axis is a value or a list. ``extends = "other.toml"`` starts from another file: ``[base]`` is merged key by key, any
other key replaces what that file has.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from dpib.errors import ConfigError
from dpib.job import make_spec
from dpib.paper import tables
from dpib.spec import Frozen, RunSpec, describe_validation_error

Value = TypeVar("Value")
Axis = Annotated[
    tuple[Value, ...],
    Field(min_length=1),
    BeforeValidator(lambda given: tuple(given) if isinstance(given, list | tuple) else (given,)),
]
Overrides = Mapping[str, bool | int | float | str]
_as_columns = AfterValidator(lambda given: tuple("" if value == "none" else value for value in given))
"""A record without a prelude or variant has an empty one."""

_SINGULAR = {"method": "methods", "dataset": "datasets", "epsilon": "epsilons", "seed": "seeds"}
_OTHERWISE: dict[str, tuple[Any, ...]] = {
    "track": ("lite",),
    "seeds": (0,),
    "public": ("none",),
    "pretrain": ("auto",),
    "preludes": ("none",),
    "variant": ("none",),
    "overrides": ({},),
}


class Axes(Frozen):
    """What runs may differ in; None: as in ``[base]``.

    Attributes:
        track: full names, or families for their newest version.
        public: as ``dpib run --public``.
        pretrain: ``"auto"``: conditional where there is public data.
        preludes: ``"none"``, a name, or several joined by ``+``.
        variant: ``"none"`` or a named preset of the method.
        overrides: tables of changed hyper-parameters; ``{}`` changes none. Any other marks records ``tuned``.
        gpu: the runs are hopeless without a GPU.
    """

    methods: Axis[str] | None = None
    datasets: Axis[str] | None = None
    epsilons: Axis[float] | None = None
    seeds: Axis[int] | None = None
    track: Axis[str] | None = None
    public: Axis[str] | None = None
    pretrain: Axis[Literal["auto", "none", "conditional", "unconditional"]] | None = None
    preludes: Axis[str] | None = None
    variant: Axis[str] | None = None
    overrides: Axis[Overrides] | None = None
    gpu: bool | None = None

    def over(self, base: Axes) -> Axes:
        """Return these axes with those of ``base`` where nothing is said."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class Selection(Frozen):
    """Which standings a side of a finding is about: every value given must agree; lists allow several.

    Attributes:
        preludes: as an axis: ``"none"``, a name, or several joined by ``+``.
        variant: as an axis.
    """

    method: Axis[str] | None = None
    dataset: Axis[str] | None = None
    epsilon: Axis[float] | None = None
    public: Axis[str] | None = None
    pretrain: Axis[str] | None = None
    preludes: Annotated[Axis[str], _as_columns] | None = None
    variant: Annotated[Axis[str], _as_columns] | None = None


class Finding(Frozen):
    """One of the paper's findings, and how our records judge it.

    Attributes:
        text: the finding, in a sentence.
        source: where the paper says so.
        better: the side that the finding says is better; with ``than`` it is computed from the records.
        than: the other side. Both are matched within cells of equal dataset and ε, unless a side names those. Both name
            methods or neither does.
        every: the finding speaks of every method of both sides, as "the best" does, not of their means.
        remark: what a person adds after reading the numbers.
    """

    text: str
    source: str = ""
    better: Selection | None = None
    than: Selection | None = None
    every: bool = False
    remark: str = ""

    @model_validator(mode="after")
    def _has_both_sides_or_none(self) -> Self:
        if (self.better is None) != (self.than is None):
            raise ValueError("expected both 'better' and 'than', or neither for a finding that a person judges")
        if self.better and self.than and (self.better.method is None) != (self.than.method is None):
            raise ValueError(
                "expected 'method' in both 'better' and 'than', or in neither: each is compared with itself"
            )
        return self


class Content(Frozen):
    """A grid file as written."""

    title: str = ""
    paper: str = ""
    note: str = ""
    base: Axes = Field(default_factory=Axes)
    runs: tuple[Axes, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Unit:
    """One run of a grid.

    Attributes:
        needs_gpu: the grid says that it is hopeless without one.
    """

    spec: RunSpec
    needs_gpu: bool = False

    @property
    def name(self) -> str:
        """The run in words, for progress and messages."""
        spec = self.spec
        extras = (
            spec.variant,
            "" if spec.public == "none" else f"+{spec.public}",
            spec.pretrain if spec.pretrain == "unconditional" else "",
            *spec.preludes,
            *(f"{key}={value}" for key, value in spec.overrides.items()),
        )
        words = (spec.method, *filter(None, extras), spec.dataset, f"ε={spec.epsilon:g}", f"seed {spec.seed}")
        return " ".join(words)


@dataclass(frozen=True)
class Grid:
    """A grid file, read and checked.

    Attributes:
        units: every run once, in the order of the file.
    """

    title: str
    paper: str
    note: str
    units: tuple[Unit, ...]
    findings: tuple[Finding, ...]


def read_grid(path: Path) -> Grid:
    """Read a grid file. Methods, datasets and preludes it names need not be installed.

    Raises:
        ConfigError: if it is missing, not TOML, or has a wrong key or value, or no run, or if a ``[base]`` over that of
            another file has a key that reaches no run, or a finding names what no run has.
    """
    try:
        content = Content.from_plain(_document(path, ()))
    except ValidationError as error:
        said = describe_validation_error(error)
        unknown = [item["loc"][0] for item in error.errors() if item["type"] == "extra_forbidden"]
        axes = f" An axis is one of: {', '.join(Axes.model_fields)}." if {"base", "runs"} & {*unknown} else ""
        raise ConfigError(f"{path}: {said}.{axes}") from error
    blocks = [(f"runs.{number}", block) for number, block in enumerate(content.runs)]
    blocks += [(f"rows.{number}", _single(row, f"{path}: rows.{number}")) for number, row in enumerate(content.rows)]
    units: dict[str, Unit] = {}
    for place, block in blocks:
        for unit in _multiplied(block.over(content.base), f"{path}: {place}"):
            units.setdefault(unit.spec.canonical(), unit)
    if not units:
        raise ConfigError(f"{path} has no [[runs]] and no [[rows]].")
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in own.get("base", {}) if "extends" in own else ():
        if all(getattr(block, key) is not None for _, block in blocks):
            raise ConfigError(f"{path}: base.{key} has no effect: every block has its own {key}. Remove it.")
    if content.paper and content.paper not in tables():
        raise ConfigError(f"{path}: paper: no table '{content.paper}' of the paper. Known: {', '.join(tables())}.")
    for number, finding in enumerate(content.findings):
        _refuse_what_no_run_has(finding, units.values(), f"{path}: findings.{number}")
    return Grid(content.title or path.stem, content.paper, content.note, tuple(units.values()), content.findings)


def _refuse_what_no_run_has(finding: Finding, units: Iterable[Unit], place: str) -> None:
    for name in ("better", "than"):
        side = getattr(finding, name)
        for key, wanted in side.model_dump(exclude_none=True).items() if side else ():
            there = dict.fromkeys(_value(unit.spec, key) for unit in units)
            absent = [value for value in wanted if value not in there]
            if absent:
                known = ", ".join(str(value or "none") for value in there)
                raise ConfigError(f"{place}.{name}: no run of the grid has {key} '{absent[0]}'. There are: {known}.")


def _value(spec: RunSpec, key: str) -> str | float:
    """Return what a selection compares with."""
    value: str | float = "+".join(spec.preludes) if key == "preludes" else getattr(spec, key) or ""
    return value


def _document(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's content over that of the file it extends."""
    if path.resolve() in above:
        raise ConfigError(f"{path} extends itself.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"No grid file at {path}.") from error
    except OSError as error:
        raise ConfigError(f"The grid file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    if "extends" not in document:
        return document
    below = document.pop("extends")
    if not isinstance(below, str):
        raise ConfigError(f"{path}: extends: expected the name of a grid file (got {below!r}).")
    started = _document(path.parent / below, (*above, path.resolve()))
    bases = [part.get("base", {}) for part in (started, document)]
    if all(isinstance(base, dict) for base in bases):
        document["base"] = {**bases[0], **bases[1]}
    return {**started, **document}


def _single(row: Mapping[str, Any], place: str) -> Axes:
    """Return the axes of an explicit row: one value of each that it names."""
    plural = [key for key in row if key in _SINGULAR.values()]
    if plural:
        raise ConfigError(
            f"{place}: unknown key '{plural[0]}'. A row names single values: use the singular, or [[runs]]."
        )
    several = [key for key, value in row.items() if isinstance(value, list)]
    if several:
        raise ConfigError(f"{place}: {several[0]}: a row names single values; use [[runs]] for several.")
    try:
        return Axes.from_plain({_SINGULAR.get(key, key): value for key, value in row.items()})
    except ValidationError as error:
        raise ConfigError(f"{place}: {describe_validation_error(error)}.") from error


def _multiplied(axes: Axes, place: str) -> Iterator[Unit]:
    """Yield every combination of the axes."""
    missing = [name for name in ("methods", "datasets", "epsilons") if getattr(axes, name) is None]
    if missing:
        raise ConfigError(f"{place}: {' and '.join(missing)} missing, here and in [base].")
    names = ("track", "seeds", "epsilons", "datasets", "public", "pretrain", "preludes", "variant", "overrides")
    values = [getattr(axes, name) or _OTHERWISE[name] for name in names]
    for *point, method in itertools.product(*values, axes.methods or ()):
        track, seed, epsilon, dataset, public, pretrain, preludes, variant, overrides = point
        try:
            spec = make_spec(
                method,
                dataset,
                float(epsilon),
                track,
                seed,
                public,
                None if pretrain == "auto" or public == "none" else pretrain,
                () if preludes == "none" else preludes.split("+"),
                None if variant == "none" else variant,
                dict(overrides),
            )
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        yield Unit(spec, bool(axes.gpu))
