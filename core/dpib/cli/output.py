"""How commands speak: tables and JSON on stdout, notes for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from typing import Any, TextIO

import typer

WIDTH_WITHOUT_TERMINAL = 160


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """Print rows under column titles, on stderr if ``err``; cells are shown as they are, without markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in columns:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    terminal = (sys.stderr if err else sys.stdout).isatty()
    Console(width=None if terminal else WIDTH_WITHOUT_TERMINAL, stderr=err).print(table)


def prints_on_stderr() -> redirect_stdout[TextIO]:
    """Return a context for running the code of plugins: what it prints is no data and goes to stderr."""
    return redirect_stdout(sys.stderr)


def note(message: str) -> None:
    """Tell a person something on stderr."""
    typer.echo(message, err=True)
