"""Layers of presets, overrides, and messages that name file, table and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field
from shipping import Ship

from dpib.config import Resolved, parse_override, resolve
from dpib.errors import ConfigError, PluginError, UnknownName
from dpib.spec import Family, MethodCard, RunSpec
from dpib.synthesizer import Method, MethodConfig

CARD = MethodCard(name="m", title="M", summary="S", family=Family.GAN, noise_location="model")
Resolve = Callable[..., Resolved]


class Config(MethodConfig):
    steps: int = 1
    rate: float = 0.5
    widths: tuple[int, ...] = (4,)
    name: str = "a"
    nested: dict[str, int] = Field(default_factory=dict)


@pytest.fixture
def resolve_with(ship: Ship, tmp_path: Path) -> Resolve:
    """Return a function that resolves a preset text at a point of the benchmark."""
    ship("one", {}, {"throwaway_presets.py": ""})
    path = tmp_path / "site-one" / "presets.toml"

    def call(text: str, epsilon: float = 1.0, dataset: str = "digits", **spec: object) -> Resolved:
        path.write_text(text)
        method = Method(CARD, "throwaway_presets:Class", presets="presets.toml")
        values = {"method": "m", "track": "lite-v1", "dataset": dataset, "epsilon": epsilon, **spec}
        return resolve(method, Config, RunSpec.from_plain(values))

    return call


LAYERS = """
[default]
steps = 2
[lite]
steps = 3
[lite.digits]
steps = 4
[lite.digits.eps1]
steps = 5
[lite.digits."eps0.2"]
steps = 6
[lite.my-data]
steps = 7
[demo]
steps = 8
[variant.large]
steps = 9
"""


@pytest.mark.parametrize(
    ("point", "steps", "last"),
    [
        ({}, 5, "lite.digits.eps1"),
        ({"epsilon": 0.2}, 6, "lite.digits.eps0.2"),
        ({"epsilon": 2.0}, 4, "lite.digits"),
        ({"dataset": "mnist"}, 3, "lite"),
        ({"dataset": "my-data"}, 7, "lite.my-data"),
        ({"track": "demo-v1"}, 8, "demo"),
        ({"variant": "large"}, 9, "variant.large"),
        ({"variant": "large", "overrides": {"steps": 10}}, 10, "variant.large"),
    ],
)
def test_the_last_layer_wins(resolve_with: Resolve, point: dict[str, object], steps: int, last: str) -> None:
    resolved = resolve_with(LAYERS, **point)
    assert resolved.config.model_dump()["steps"] == steps
    assert (resolved.layers[0], resolved.layers[-1]) == ("default", last)
    assert resolved.changed == ("steps",)


def test_a_file_extends_another_key_by_key(resolve_with: Resolve, tmp_path: Path) -> None:
    shared = tmp_path / "site-one" / "shared.toml"
    shared.write_text("[default]\nsteps = 2\nrate = 0.25\n[lite]\nsteps = 3\n[variant.large]\nname = 'b'\n")
    own = 'extends = "shared.toml"\n[default]\nsteps = 7\n[lite]\nwidths = [1]\n'
    resolved = resolve_with(own, variant="large")
    assert resolved.layers == ("default", "lite", "variant.large")
    assert resolved.config.model_dump() == {"steps": 3, "rate": 0.25, "widths": (1,), "name": "b", "nested": {}}
    shared.write_text('extends = "presets.toml"\n')
    with pytest.raises(ConfigError, match="extends"):
        resolve_with(own)
    with pytest.raises(PluginError, match="missing"):
        resolve_with('extends = "missing.toml"\n')
    with pytest.raises(ConfigError, match="extends"):
        resolve_with("extends = 3\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.fixed_dictionaries({}, optional={key: st.integers(0, 9) for key in ("steps", "rate")})
            for name in ("default", "lite", "lite.digits", "lite.digits.eps1", "variant.v")
        },
    ),
    st.fixed_dictionaries({}, optional={"steps": st.integers(0, 9)}),
)
def test_every_key_comes_from_the_last_layer_that_has_it(
    resolve_with: Resolve, tables: dict[str, dict[str, int]], overrides: dict[str, int]
) -> None:
    tables.setdefault("variant.v", {})
    text = "\n".join(
        f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in table.items()) for name, table in tables.items()
    )
    expected: dict[str, float] = {"steps": 1, "rate": 0.5}
    for name in ("default", "lite", "lite.digits", "lite.digits.eps1", "variant.v"):
        expected |= tables.get(name, {})
    expected |= overrides
    resolved = resolve_with(text, variant="v", overrides=overrides)
    assert {key: getattr(resolved.config, key) for key in expected} == expected
    assert set(resolved.changed) == {key for key, value in expected.items() if value != Config().model_dump()[key]}
    assert set(resolved.layers) == {name for name, table in tables.items() if table}


def test_a_nested_table_named_like_a_key_is_its_value(resolve_with: Resolve) -> None:
    resolved = resolve_with("[lite]\nwidths = [8, 16]\n[lite.nested]\na = 1\n[lite.digits.nested]\na = 2")
    assert resolved.config.model_dump()["nested"] == {"a": 2}
    assert resolved.config.model_dump()["widths"] == (8, 16)
    assert resolved.layers == ("lite", "lite.digits")


def test_a_table_that_only_holds_other_tables_is_no_layer(resolve_with: Resolve) -> None:
    assert resolve_with("[lite.digits.eps1]\nsteps = 2").layers == ("lite.digits.eps1",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[default]\nstpes = 1", r"presets.toml, table \[default\]: unknown key 'stpes'. Did you mean 'steps'"),
        ("[demo.mnist]\nstpes = 1", r"table \[demo.mnist\]: unknown key 'stpes'"),
        ("[default]\nsteps = 1\n[lite]\nsteps = 'x'", r"presets.toml, table \[lite\], key steps: .*integer.*got 'x'"),
        ("[default]\nwidths = [1, 'x']", r"table \[default\], key widths.1: "),
        ("[default]\nrate = nan", r"key rate: "),
        ("[default]\nsteps = 2020-01-01", "key steps: .*got '2020-01-01'"),
        ("steps = 1", "key 'steps' is outside a table"),
        ("[lte]\nsteps = 1", r"unknown table \[lte\]"),
        ("[lite-v1]\nsteps = 1", r"unknown table \[lite-v1\]"),
        ("[lite.digits.eps0.2]\nsteps = 1", "unknown key '2'"),
        ("[lite.digits.epsx]\nsteps = 1", r"\[lite.digits\]: unknown table 'epsx'.*quoted"),
        ("[lite.digits.other]\nsteps = 1", "unknown table 'other'"),
        ("[variant]\nsteps = 1", r"expected a table \[variant.steps\]"),
        ("[default", "is not TOML"),
    ],
)
def test_a_wrong_preset_is_named(resolve_with: Resolve, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        resolve_with(text)


def test_a_wrong_override_is_named(resolve_with: Resolve) -> None:
    with pytest.raises(ConfigError, match=r"--set: unknown key 'stpes'. Did you mean 'steps'"):
        resolve_with("", overrides={"stpes": 1})
    with pytest.raises(ConfigError, match=r"--set steps: .*integer.*got 'many'"):
        resolve_with("[default]\nsteps = 3", overrides={"steps": "many"})


def test_an_unknown_variant_suggests_the_nearest(resolve_with: Resolve) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'large'"):
        resolve_with(LAYERS, variant="larg")


def test_a_missing_file_is_the_plugins_fault(ship: Ship) -> None:
    ship("one", {}, {"throwaway_presets.py": ""})
    method = Method(CARD, "throwaway_presets:Class", presets="absent.toml")
    with pytest.raises(PluginError, match=r"absent\.toml: No such file"):
        resolve(method, Config, RunSpec(method="m", track="lite-v1", dataset="digits", epsilon=1.0))


def test_without_presets_the_defaults_hold() -> None:
    spec = RunSpec(method="m", track="lite-v1", dataset="digits", epsilon=1.0)
    assert resolve(Method(CARD, "nowhere:Class"), Config, spec) == Resolved(Config(), (), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", ("a", 1)),
        ("a = 1e-3", ("a", 1e-3)),
        ("a=true", ("a", True)),
        ("a='1'", ("a", "1")),
        ("a=adam", ("a", "adam")),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
        ("a=1\nb=2", ("a", "1\nb=2")),
    ],
)
def test_an_override_is_read_as_toml_or_text(text: str, expected: tuple[str, object]) -> None:
    key, value = parse_override(text)
    assert (key, value, type(value)) == (*expected, type(expected[1]))


@pytest.mark.parametrize("text", ["a", "=1", "a=[1]", "a={b=1}", "a=2020-01-01"])
def test_what_is_no_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="xpected"):
        parse_override(text)


@given(
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))
)
def test_any_scalar_survives_as_toml(value: object) -> None:
    assert parse_override(f"key={json.dumps(value, ensure_ascii=False)}") == ("key", value)
