"""One mistake: what lies in the folder, the command, and what it prints there."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner

from dpib import plugins
from dpib.cli.main import app

Scene = Callable[[Path], None]
"""Writes files into an empty folder, the working folder of the command."""

LENGTH = 420
"""Characters of a message that the page shows; the rest of the longest lists is left to the terminal."""


def nothing(_: Path) -> None:
    """Leave the folder empty."""


@dataclass(frozen=True)
class Mistake:
    """Something that people do wrong.

    Attributes:
        what: the mistake in a few words.
        command: as typed.
        scene: what lies in the working folder.
        exit_code: 1 the thing failed, 2 misuse, 3 the environment lacks something.
        answer: part of the message that must be there: what is wrong, or what to do.
        environment: variables beside those that every mistake is played with.
        slow: whether it takes more than a second or two.
        prints: whether data is printed all the same.
    """

    what: str
    command: str
    exit_code: int
    answer: str
    scene: Scene = nothing
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    prints: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        message: stderr as one paragraph, without frames, with ``~`` for the working folder.
        stdout: what was printed as data.
        crashed: the exception that nobody turned into a message.
        begun: whether the command began a run.
    """

    exit_code: int
    message: str
    stdout: str
    crashed: BaseException | None
    begun: bool


@contextmanager
def _alone_in(folder: Path, extra: Mapping[str, str]) -> Iterator[None]:
    """Work in ``folder`` with no mirror, no network, no account and no plugins or datasets but those of dpib."""
    before = Path.cwd()
    ours = {
        "COLUMNS": "200",
        "DPIB_DATASETS": str(folder / ".cards"),
        "DPIB_PLUGINS": "",
        "HF_TOKEN_PATH": str(folder / ".token"),
        "NO_COLOR": "1",
    }
    removed = ("DPIB_DATA", "HF_TOKEN", "DPIB_STRICT_PLUGINS", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in removed} | ours | dict(extra)
    plugins.registry.cache_clear()
    os.chdir(folder)
    try:
        with (
            patch.dict(os.environ, environment, clear=True),
            patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),
            patch("datasets.config.HF_HUB_OFFLINE", True),
            patch("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / ".token")),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        os.chdir(before)
        plugins.registry.cache_clear()


def play(mistake: Mistake, folder: Path) -> Outcome:
    """Set the scene in an empty folder and call the command."""
    program, *arguments = shlex.split(mistake.command)
    assert program == "dpib", mistake.command
    with _alone_in(folder, mistake.environment):
        mistake.scene(folder)
        before = set(folder.rglob("run.json"))
        result = CliRunner().invoke(app, arguments)
    crashed = None if isinstance(result.exception, SystemExit) else result.exception
    begun = set(folder.rglob("run.json")) != before
    return Outcome(result.exit_code, _paragraph(result.stderr, folder), result.stdout, crashed, begun)


def _paragraph(text: str, folder: Path) -> str:
    plain = text.replace(str(folder.resolve()), "~").replace(str(folder), "~")
    plain = re.sub(r"^\s*Usage: .*$|^\s*Try '.*$|^╭.*╮$|^╰.*╯$|[│]", "", plain, flags=re.MULTILINE)
    return " ".join(plain.split())
