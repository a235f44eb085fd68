"""Resolves the hyper-parameters of a method or a prelude from its preset file and the command line. Imports no torch.

Tables apply in this order; each is optional and later values win, key by key also in tables within them:

1. ``[default]``
2. ``[<family>]``, the track's family: ``[lite]`` for track ``lite-v1``
3. ``[<family>.<dataset>]``
4. ``[<family>.<dataset>.eps<ε>]``; a decimal is quoted: ``[lite.mnist."eps0.2"]``. Other ε stop at layer 3.
5. ``[variant.<name>]``, only if asked for with ``--variant``
6. ``--set key=value``

A file whose first line is ``extends = "../other/presets.toml"``, or a list of such paths, takes the tables of these
files, key by key; in every table later files win, and its own values win over all.

What a person asks for by name (5, 6) wins over what follows from the point of the benchmark (1 to 4): otherwise a
variant's size would silently depend on the dataset. A table may name a dataset that is not installed here.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from dpib import catalogue
from dpib.errors import ConfigError, PluginError, UnknownName
from dpib.loading import module_folder
from dpib.spec import RunSpec
from dpib.synthesizer import MethodConfig


class Card(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """The name."""


class Configurable(Protocol):
    """What has presets: a ``Method`` or a ``PreludePlugin``."""

    @property
    def card(self) -> Card:
        """Names it."""

    @property
    def implementation(self) -> str:
        """Dotted path of its class."""

    @property
    def presets(self) -> str | None:
        """File beside that class."""


Scalar = bool | int | float | str
Tables = dict[str, Mapping[str, Any]]
_SET = "--set"


@dataclass(frozen=True)
class Resolved:
    """A method's hyper-parameters for one run.

    Attributes:
        layers: names of the preset tables that applied, in order, e.g. ``("default", "lite", "lite.mnist")``.
        changed: names of hyper-parameters that differ from the class's defaults, sorted.
    """

    config: MethodConfig
    layers: tuple[str, ...]
    changed: tuple[str, ...]


def parse_override(text: str) -> tuple[str, Scalar]:
    """Return key and value of ``"key=value"``; the value is read as TOML, and as text where it is not TOML.

    Raises:
        ConfigError: if there is no key or the value is a list, a table or a date.
    """
    key, equals, literal = text.partition("=")
    key, literal = key.strip(), literal.strip()
    if not (key and equals):
        raise ConfigError(f"Expected {_SET} key=value, got '{text}'.")
    try:
        parsed = tomllib.loads(f"value = {literal}")
    except tomllib.TOMLDecodeError:
        return key, literal
    if parsed.keys() != {"value"}:
        return key, literal
    value = parsed["value"]
    if not isinstance(value, Scalar):
        raise ConfigError(f"{_SET} {key}: expected a number, true, false or text, got '{literal}'. Use a preset file.")
    return key, value


def variants(method: Configurable, config_class: type[MethodConfig]) -> set[str]:
    """Return the names of the variants that a preset file has.

    Raises:
        ConfigError: if the file has an unknown table or key.
        PluginError: if the file is missing.
    """
    _, tables = _read_presets(method, set(config_class.model_fields))
    return {name.removeprefix("variant.") for name in tables if name.startswith("variant.")}


def resolve(method: Configurable, config_class: type[MethodConfig], spec: RunSpec) -> Resolved:
    """Return the hyper-parameters of a method at one point of the benchmark.

    Args:
        method: the method or prelude whose preset file to read, if it has one.
        config_class: ``Config`` of its class.
        spec: gives track, dataset, ε, variant and overrides.

    Raises:
        ConfigError: for an unknown table or key, or an ill-typed value; names file, table and key.
        UnknownName: if the variant does not exist.
        PluginError: if the preset file is missing.
    """
    fields = set(config_class.model_fields)
    path, tables = _read_presets(method, fields)
    layers = _select(method, tables, spec)
    _check_keys(spec.overrides, fields, _SET)
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, table in (*((layer, tables[layer]) for layer in layers), (_SET, spec.overrides)):
        for key, value in table.items():
            inner = isinstance(value, dict) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if inner else value
        origin.update(dict.fromkeys(table, _SET if name == _SET else f"{path}, table [{name}], key"))
    try:
        config = config_class.from_plain(values)
    except ValidationError as error:
        raise ConfigError(_describe(error, origin, f"Configuration of '{method.card.name}'")) from error
    defaults = {name: field.get_default(call_default_factory=True) for name, field in config_class.model_fields.items()}
    changed = sorted(name for name, default in defaults.items() if getattr(config, name) != default)
    return Resolved(config, layers, tuple(changed))


def _read_presets(method: Configurable, fields: set[str]) -> tuple[Path, Tables]:
    if method.presets is None:
        return Path(), {}
    path = module_folder(method.implementation.partition(":")[0]) / method.presets
    return path, _tables_of(path, method.card.name, fields)


def _tables_of(path: Path, name: str, fields: set[str], extended_by: tuple[Path, ...] = ()) -> Tables:
    try:
        document = json.loads(_as_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PluginError(f"The presets of '{name}' cannot be read: {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    base = document.pop("extends", None)
    tables = _flatten(document, fields, path)
    for table_name, table in tables.items():
        _check_keys(table, fields, f"{path}, table [{table_name}]")
    bases, chain = (
        base if isinstance(base, list) else [base] if base is not None else [],
        (*extended_by, path.resolve()),
    )
    inherited: Tables = {}
    for one in bases:
        if not isinstance(one, str) or (path.parent / one).resolve() in chain:
            raise ConfigError(f"{path}: expected extends = paths of other preset files, got {base!r}.")
        inherited = _merged(inherited, _tables_of(path.parent / one, name, fields, chain))
    return _merged(inherited, tables)


@lru_cache
def _as_json(toml: str) -> str:
    """Return a TOML text as JSON, dates as text; a plan reads the same few files for every run."""
    return json.dumps(tomllib.loads(toml), default=str)


def _merged(tables: Tables, winning: Tables) -> Tables:
    return {key: {**tables.get(key, {}), **winning.get(key, {})} for key in {**tables, **winning}}


def _flatten(document: Mapping[str, Any], fields: set[str], path: Path) -> Tables:
    """Return tables by dotted name. A nested table whose name is a hyper-parameter is that parameter's value."""
    tables: Tables = {}
    for name, content in document.items():
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: key '{name}' is outside a table. Put it under [default].")
        if name == "default":
            tables[name] = content
        elif name == "variant":
            tables.update({f"variant.{variant}": table for variant, table in content.items()})
        elif _is_family(name):
            tables[name], datasets = _divide(content, fields)
            for dataset, inner in datasets.items():
                tables[f"{name}.{dataset}"], points = _divide(inner, fields)
                for point, values in points.items():
                    tables[f"{name}.{dataset}.{_point(point, f'{path}, table [{name}.{dataset}]')}"] = values
        else:
            raise ConfigError(f"{path}: unknown table [{name}]. Expected default, variant, or the family of a track.")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: expected a table [{name}], got {table!r}.")
    return tables


def _divide(table: Mapping[str, Any], fields: set[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    nested = {key: value for key, value in table.items() if isinstance(value, dict) and key not in fields}
    return {key: value for key, value in table.items() if key not in nested}, nested


def _is_family(name: str) -> bool:
    try:
        return catalogue.track(name).family == name
    except UnknownName:
        return False


def _point(name: str, place: str) -> str:
    try:
        if name.startswith("eps"):
            return _eps(float(name.removeprefix("eps")))
    except ValueError:
        pass
    raise ConfigError(f"{place}: unknown table '{name}'. Expected one such as eps1 or \"eps0.2\" (quoted).")


def _eps(epsilon: float) -> str:
    return f"eps{epsilon!r}".removesuffix(".0")


def _select(method: Configurable, tables: Mapping[str, Mapping[str, Any]], spec: RunSpec) -> tuple[str, ...]:
    family = catalogue.track(spec.track).family
    order = ["default", family, f"{family}.{spec.dataset}", f"{family}.{spec.dataset}.{_eps(spec.epsilon)}"]
    if spec.variant is not None:
        order.append(f"variant.{spec.variant}")
        if order[-1] not in tables:
            known = (name.removeprefix("variant.") for name in tables if name.startswith("variant."))
            raise UnknownName(f"variant of {method.card.name}", spec.variant, known)
    return tuple(name for name in order if tables.get(name))


def _check_keys(keys: Iterable[str], fields: set[str], place: str) -> None:
    for key in keys:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(sorted(fields)) or 'none'}."
            raise ConfigError(f"{place}: unknown key '{key}'.{hint}")


def _describe(error: ValidationError, origin: Mapping[str, str], otherwise: str) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        place = origin.get(str(item["loc"][0])) if item["loc"] else None
        got = "" if item["type"] == "missing" or not key else f" (got {item['input']!r})"
        lines.append(f"{f'{place} {key}' if place else f'{otherwise}, {key}'.rstrip(', ')}: {item['msg']}{got}")
    return "\n".join(lines)
