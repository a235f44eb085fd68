"""The table of commands: every one listed by ``dpib --help``, none imported before it is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dpib.errors import PluginError
from dpib.loading import discover, owner_of, resolve

GROUP = "dpib.commands"
"""Entry points of this group add commands: name = command, value = ``module:function``.

The function is annotated for Typer; the first line of its docstring is the help line. Its module is imported when
``dpib --help`` lists commands, so it imports what is heavy inside the function. Built-in names cannot be replaced.
"""


@dataclass(frozen=True)
class Row:
    """A built-in command: its name, where its function is, its help line, and words after it that are commands too."""

    name: str
    target: str
    help: str
    children: Mapping[str, str] = field(default_factory=dict)


BUILT_IN = (
    Row("plugins", "dpib.cli.lists:plugins", "List methods, datasets, metrics and tracks with who brings them."),
    Row(
        "datasets",
        "dpib.cli.datasets:datasets",
        "List datasets, or show one; --check looks whether it is here; add takes own images.",
        {"add": "dpib.cli.datasets:add"},
    ),
    Row("metrics", "dpib.cli.lists:metrics", "List metrics."),
    Row("tracks", "dpib.cli.lists:tracks", "List tracks, the rules a result belongs to."),
    Row("new", "dpib.cli.new:new", "Write a plugin package with a method that works."),
    Row("check", "dpib.cli.check:check", "Put a method through the conformance suite."),
    Row("run", "dpib.cli.run:run", "Run a method on a dataset at one ε; the same command resumes."),
    Row("plan", "dpib.cli.plan:plan", "Say what of a grid file is done or missing, and what it will take."),
    Row("eval", "dpib.cli.eval:eval", "Score any set of labelled images."),
    Row("results", "dpib.cli.results:results", "Query records."),
    Row(
        "synthesize", "dpib.cli.synthesize:synthesize", "Make a synthetic set of your own images that you may release."
    ),
    Row("verify", "dpib.cli.verify:verify", "Recompute the ε and the scores of a record."),
    Row("audit", "dpib.cli.audit:audit", "Try to refute a method's claim of privacy; an empirical lower bound on ε."),
)


class LazyCommand(TyperCommand):
    """A line of help that becomes the real command when called.

    Args:
        target: dotted path of the function.
        problem: why it cannot be called, if it cannot.
        children: first words that are commands of their own, and where their functions are.
    """

    def __init__(
        self, name: str, target: str, help_line: str, problem: str = "", children: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name=name, help=help_line)
        self._target, self._problem = target, problem
        self.children = {word: LazyCommand(word, path, "") for word, path in (children or {}).items()}

    def load(self) -> Any:
        """Return the real command.

        Raises:
            PluginError: if it cannot be called.
        """
        if self._problem:
            raise PluginError(self._problem)
        single = typer.Typer(add_completion=False)
        function = resolve(self._target)
        single.command(self.name, help=help_text(function))(function)
        return typer.main.get_command(single)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the real command, whose ``invoke`` is then called instead of this one's."""
        if args and args[0] in self.children:
            return self.children[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return self.load().make_context(info_name, args, parent=parent, **extra)


def help_text(function: Callable[..., object]) -> str:
    """Return a docstring as ``--help`` shows it: without its Google sections, paragraphs flowing, no markup.

    Indented paragraphs, such as examples, keep their lines.
    """
    text = re.split(r"^(?:Args|Returns|Raises):$", inspect.getdoc(function) or "", maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = text.replace("[", "\\[").strip().split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else part.replace("\n", " ") for part in paragraphs)


def _contributed(name: str, entries: Sequence[EntryPoint]) -> LazyCommand:
    """Return a command of another package; one that is broken is listed with the reason and takes nothing down."""
    target = entries[0].value
    owners = [" ".join(owner_of(entry)) for entry in entries]
    if len(entries) > 1:
        problem = f"The command '{name}' is claimed by {' and by '.join(owners)}. Uninstall one."
        return LazyCommand(name, target, problem, problem)
    try:
        help_line = help_text(resolve(target)).partition("\n")[0]
    except PluginError as error:
        problem = f"The command '{name}' of {owners[0]} is broken: {error}"
        return LazyCommand(name, target, problem, problem)
    return LazyCommand(name, target, help_line)


class CommandTable(TyperGroup):
    """The ``dpib`` command: the built-in table and, looked up only when needed, entry points of other packages."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for row in BUILT_IN:
            self.add_command(LazyCommand(row.name, row.target, row.help, children=row.children))
        self._complete = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names, built-in ones first."""
        if not self._complete:
            self._complete = True
            for name, entries in discover(GROUP).items():
                if name not in self.commands:
                    self.add_command(_contributed(name, entries))
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; other packages are looked at only for names that are not built in."""
        if cmd_name not in self.commands:
            self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)
