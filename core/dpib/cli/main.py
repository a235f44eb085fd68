"""``dpib``: one message and a meaningful exit code for every error; tracebacks for bugs only."""

from __future__ import annotations

import errno
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TextIO

import typer

from dpib.__about__ import __version__
from dpib.cli.commands import CommandTable
from dpib.errors import DpibError, PluginError, StorageError

INTERRUPTED = 130
TRACEBACK = "DPIB_TRACEBACK"
"""Environment variable; if it is set, the traceback of a deliberate error is shown too."""
MISMATCH = (
    "torch and torchvision are builds that do not fit together, such as one for CPUs and one for CUDA. Install both "
    "with one command from one index: pip install --force-reinstall torch torchvision (without a GPU add --index-url "
    "https://download.pytorch.org/whl/cpu)"
)
"""A torchvision beside another build of torch says at its import only that an operator does not exist."""


def _stop(message: str, exit_code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(exit_code)


def _full_disk(error: BaseException | None) -> OSError | None:
    """Return the "no space left" error behind an error, or None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn deliberate errors, unusable files, a full disk and Ctrl-C into one message on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _stop("Interrupted. The same command resumes.", INTERRUPTED)
    except Exception as error:
        full = _full_disk(error)
        if full is not None and not isinstance(error, StorageError):
            place = f" ({full.filename})" if full.filename else ""
            _stop(f"Error: the disk is full{place}. Free some space; the same command resumes.", StorageError.exit_code)
        if isinstance(error, OSError) and error.filename and error.strerror:
            unusable = StorageError(f"Cannot read or write {error.filename}: {error.strerror}.")
            unusable.__cause__ = error
            error = unusable
        if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
            mismatch = PluginError(MISMATCH)
            mismatch.__cause__ = error
            error = mismatch
        if isinstance(error, DpibError):
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
            _stop(f"Error: {error}", error.exit_code)
        raise


@contextmanager
def reported_warnings() -> Iterator[None]:
    """Tell a ``UserWarning`` as one line on stderr, without the line of code that raised it."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UserWarning):
            typer.echo(f"Warning: {message}", err=True)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


class _Dpib(CommandTable):
    def invoke(self, ctx: Any) -> Any:
        with reported_errors(), reported_warnings():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Dpib,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: dpib run dp-merf --dataset digits --epsilon 10 --track demo",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def dpib(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Benchmark for differentially private image synthesis.

    Data goes to stdout, messages to stderr.
    Exit codes: 0 done, 1 it failed, 2 misuse, 3 something is missing here.
    """


def main() -> None:
    """Run the command line."""
    app(prog_name="dpib")
