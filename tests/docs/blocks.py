"""The code blocks of README.md and docs/: what each shows, and what the comments above it say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"sh", "bash", "console", "shell", "python"}
_NOTE = re.compile(r"<!--\s*(not run|needs|slow):\s*(.+?)\s*-->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        place: page and line.
        notes: what the comments directly above it say, by kind: ``not run``, ``needs``, ``slow``.
    """

    page: str
    line: int
    language: str
    code: str
    notes: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def needs(self) -> frozenset[str]:
        """What must be there for it to run: of ``slow``, ``mirror``."""
        return frozenset({"slow"} & self.notes.keys()) | ({self.notes["needs"]} if "needs" in self.notes else set())


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page that show commands or Python."""
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    name = page.relative_to(ROOT).as_posix()
    found = []
    for number, token in enumerate(tokens):
        language = token.info.split()[0] if token.info.strip() else ""
        if token.type == "fence" and language in LANGUAGES:
            assert token.map is not None
            found.append(Block(name, token.map[0] + 1, language, token.content, _notes_above(tokens[:number])))
    return found


def _notes_above(tokens: list[Token]) -> dict[str, str]:
    """Return what the comments at the end of the tokens say: each comment is a token of its own."""
    comments = takewhile(lambda token: token.type == "html_block", reversed(tokens))
    return dict(note for comment in comments for note in _NOTE.findall(comment.content))


def notes_of(page: Path) -> list[tuple[str, str]]:
    """Return all that comments of a page say, wherever they stand."""
    return _NOTE.findall(page.read_text("utf-8"))


def unfenced_commands(page: Path) -> list[str]:
    """Return lines that show a command in an indented block, where nobody would run it."""
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    lines = (line for token in tokens if token.type == "code_block" for line in token.content.splitlines())
    return [line for line in lines if line.startswith(("dpib ", "python ", "pip ", "make "))]
