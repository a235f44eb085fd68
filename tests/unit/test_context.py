"""State that survives a crash is kept apart by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpib.context import RunContext
from dpib.errors import RunError
from dpib.progress import Reporter
from dpib.seeds import Seeds


@pytest.mark.parametrize("other", ["a b", "a-b", "a/b"])
def test_two_names_never_share_a_file(other: str, tmp_path: Path) -> None:
    context = RunContext(tmp_path, "cpu", Seeds(0), Reporter())
    assert context.once("a b", lambda: 1) == 1
    with pytest.raises(RunError, match="its own name"):
        context.once(other, lambda: 2)
