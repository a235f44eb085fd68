"""``docs/mistakes.md`` from what the commands print: ``make mistakes``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mistakes_of_owners
import mistakes_of_readers
import mistakes_of_researchers
from mistake import LENGTH, Mistake, Outcome, play

from dpib.files import write_text_atomically

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
CHAPTERS = {
    "You have a method": mistakes_of_researchers.MISTAKES,
    "You have images": mistakes_of_owners.MISTAKES,
    "You read, check or submit results": mistakes_of_readers.MISTAKES,
}
HEAD = """# Mistakes, and what dpib says

The likeliest mistakes and the message that each prints, on stderr. Exit codes: 0 done, 1 the thing failed, 2 misuse,
3 something is missing here. All but those of exit code 1 are found before anything expensive.

`make mistakes` writes this page from what the commands print, in an empty folder without mirror, network or account;
`~` is that folder, `…` stands for the rest of a long list. A test compares. `DPIB_TRACEBACK=1` shows the traceback
behind a message.
"""


def cell(text: str) -> str:
    """Return text that Markdown shows as it is in a cell."""
    for sign in "\\|*_<>[]`":
        text = text.replace(sign, f"\\{sign}")
    return text


def row(mistake: Mistake, outcome: Outcome) -> str:
    """Return the line of the page for one mistake."""
    message = outcome.message
    shown = message if len(message) <= LENGTH else message[:LENGTH].rsplit(" ", 1)[0] + " …"
    command = mistake.command.replace("|", "\\|")
    return f"| {mistake.what} | `{command}` | {outcome.exit_code} | {cell(shown)} |"


def written() -> str:
    """Play every mistake and return the page."""
    parts = [HEAD]
    for title, mistakes in CHAPTERS.items():
        parts.append(f"\n## {title}\n\n| mistake | command | exit code | message |\n| --- | --- | --- | --- |\n")
        for mistake in mistakes:
            with tempfile.TemporaryDirectory(prefix="dpib-mistake-") as folder:
                parts.append(row(mistake, play(mistake, Path(folder))) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    write_text_atomically(PAGE, written())
