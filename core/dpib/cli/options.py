"""Options that several commands take, and those that do not go with others."""

from __future__ import annotations

from collections.abc import Collection

import typer

from dpib.errors import ConfigError


def refuse_options(ctx: typer.Context, names: Collection[str], why: str) -> None:
    """Refuse options that would have no effect, rather than ignore them.

    Args:
        ctx: of the command.
        names: parameters of its function that do not go with the rest of the command line.
        why: what they do not go with.

    Raises:
        ConfigError: names those that were given.
    """
    given = []
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            given.append(parameter.opts[0])
    if given:
        raise ConfigError(f"{' and '.join(given)} cannot be used here: {why}.")


def parse_window(text: str | None) -> tuple[float, float] | None:
    """Return (low, high) of ``"LOW:HIGH"``.

    Raises:
        ConfigError: if it is not two numbers.
    """
    if text is None:
        return None
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise ConfigError(f"Expected --window LOW:HIGH, e.g. 0:4095, got '{text}'.") from error
