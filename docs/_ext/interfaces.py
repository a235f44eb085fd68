"""Markdown from the hook specifications and the options of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import typer
from cards import table

from dpib.cli.commands import LazyCommand
from dpib.cli.main import app
from dpib.hooks import PROJECT, HookSpecs


def hooks() -> str:
    """Return a section for every hook specification."""
    specs = [one for one in vars(HookSpecs).values() if hasattr(one, f"{PROJECT}_spec")]
    return "\n\n".join(f"## {one.__name__}\n\n{_call(one)}\n\n{inspect.getdoc(one)}" for one in specs)


def _call(hook: Callable[..., object]) -> str:
    return f"```python\n{hook.__name__}({_parameters(hook)}) -> {inspect.signature(hook).return_annotation}\n```"


def _parameters(function: Callable[..., object]) -> str:
    """Return the parameters that an implementation takes, with their types."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return ", ".join(f"{one.name}: {one.annotation}" for one in found)


def commands() -> str:
    """Return a section for every command and its options."""
    return "\n\n".join(_command(name, command) for name, command in _all_commands())


def _all_commands() -> Iterator[tuple[str, Any]]:
    group = typer.main.get_command(app)
    context = group.make_context("dpib", [], resilient_parsing=True)
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        lazy = group.get_command(context, name)  # type: ignore[attr-defined]
        assert isinstance(lazy, LazyCommand)
        yield name, lazy.load()
        for word, child in lazy.children.items():
            yield f"{name} {word}", child.load()


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = " ".join(one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments)
    usage = f"```text\ndpib {name} [OPTIONS] {words}".rstrip() + "\n```"
    rows = [(f"`{one.name.upper()}`", getattr(one, "help", "") or "", "") for one in arguments]
    rows += [(_spelling(one), one.help or "", _default(one)) for one in options]
    options_table = table(("option", "what it does", "default"), rows) if rows else ""
    return "\n\n".join((f"## dpib {name}", usage, command.help, options_table))


def _spelling(option: Any) -> str:
    return ", ".join(f"`{one}`" for one in [*option.opts, *option.secondary_opts])


def _default(option: Any) -> str:
    given = option.default
    return "" if given in (None, False, "", []) or callable(given) else f"`{'yes' if given is True else given}`"
