"""How the tests of submissions change a real record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpib.records import RunRecord

FILES = ("record.json", "ledger.jsonl", "grid.png", "images.parquet")
Make = Callable[..., Path]
"""The fixture ``make``: makes a submission's folder."""


def changed(record: RunRecord, change: Callable[[dict[str, Any]], object]) -> RunRecord:
    """Return a record with its plain content changed and its id made right again."""
    plain = json.loads(record.to_json())
    change(plain)
    draft = RunRecord.from_plain(plain)
    return draft.model_copy(update={"id": draft.content_digest})
