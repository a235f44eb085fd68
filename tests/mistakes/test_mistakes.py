"""The likeliest mistakes: one message that says what is wrong or what to do, the right exit code, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistake import Mistake, play
from mistakes_page import CHAPTERS, HEAD, PAGE, row

ALL = [
    pytest.param(mistake, id=mistake.what, marks=[pytest.mark.slow] if mistake.slow else [])
    for mistakes in CHAPTERS.values()
    for mistake in mistakes
]


@pytest.mark.parametrize("mistake", ALL)
def test_one_message_that_helps_and_that_the_page_shows(mistake: Mistake, tmp_path: Path) -> None:
    outcome = play(mistake, tmp_path)
    assert outcome.crashed is None, repr(outcome.crashed)
    assert outcome.exit_code == mistake.exit_code, outcome.message
    assert mistake.answer in outcome.message
    assert mistake.prints or outcome.stdout == "", "an error is told on stderr"
    assert not (mistake.exit_code == 2 and outcome.begun), "a run was begun"
    assert row(mistake, outcome) in PAGE.read_text().splitlines(), "run `make mistakes`"


def test_the_page_holds_these_mistakes_and_no_others() -> None:
    text = PAGE.read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    titles = [mistake.what for mistakes in CHAPTERS.values() for mistake in mistakes]
    assert [name for name in rows if name not in ("mistake", "---")] == titles
    assert text.startswith(HEAD)
    assert len(set(titles)) == len(titles) >= 50
