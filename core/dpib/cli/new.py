"""``dpib new``: writes a plugin package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpib.cli.output import note
from dpib.new import write_plugin


def new(
    name: Annotated[str, typer.Argument(help="Name of the method, e.g. my-method.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where to put the package.")] = Path(),
) -> None:
    """Write the package dpib-plugin-NAME with a method that works, for you to change.

    dpib new my-method
    """
    folder = write_plugin(name, directory)
    typer.echo(folder)
    note(
        f"Next:\n  python -m pip install -e {folder}\n  dpib plugins\n"
        f"  dpib check {name}\n"
        f"  dpib run {name} --dataset digits --epsilon 10 --track demo"
    )
