"""``rows.parquet``: the store as one table for ``datasets.load_dataset``, built from its records and reviews."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dpib.files import write_atomically, write_text_atomically
from dpib.query import row_of
from dpib_leaderboard.entries import Entry, read_entries
from dpib_leaderboard.history import stale_reason
from dpib_leaderboard.reviews import LEVELS

ROWS = "rows.parquet"
CARD = """---
configs:
- config_name: default
  data_files: rows.parquet
license: cc-by-4.0
tags: [differential-privacy, leaderboard]
---
# Results of dpib

`datasets.load_dataset` on this repository gives one row per reviewed record. Every record is a folder
`<track>/<dataset>/<method>/<id>/` with `record.json`, `ledger.jsonl`, `grid.png`, `images.parquet` and `review.json`.
Scores are those recomputed in review; what submitters wrote stands in the records only. Send records with
`dpib submit`.
"""


def row(entry: Entry) -> dict[str, object]:
    """Return the flat row of one record with the state of its review; scores are the recomputed ones, or none."""
    record, review = entry.record, entry.review
    return {
        **row_of(entry.shown),
        "trust_level": entry.level,
        "trust": LEVELS[entry.level],
        "attempts": review.attempts if review else record.privacy.attempts,
        "unique_share": review.diversity.unique_share if review and review.diversity else None,
        "reviewed": review.reviewed if review else None,
        "supersedes": record.supersedes,
        "invalidated": review.invalidated if review else None,
        "stale": stale_reason(record),
        "account": record.who.account,
        "place": entry.place,
    }


def table(records: Sequence[Entry]) -> pd.DataFrame:
    """Return one row per record that was not refused; superseded ones say by what."""
    kept = [one for one in records if one.review is None or one.review.accepted]
    successor = {one.record.supersedes: one.record.id for one in kept if one.record.supersedes}
    frame = pd.DataFrame([{**row(one), "superseded_by": successor.get(one.record.id)} for one in kept])
    return frame.sort_values(["track", "dataset", "epsilon", "method", "created"]) if len(frame) else frame


def rows_content(records: Sequence[Entry]) -> bytes:
    """Return the bytes of ``rows.parquet``."""
    buffer = io.BytesIO()
    frame = table(records)
    if frame.empty:
        frame = pd.DataFrame({"id": pd.Series([], dtype=str)})
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def build_rows(folder: Path) -> int:
    """Write ``rows.parquet`` of a store's folder, and its card if it has none; return the number of rows."""
    records = read_entries(folder)
    content = rows_content(records)
    write_atomically(folder / ROWS, lambda file: file.write(content))
    if not (folder / "README.md").exists():
        write_text_atomically(folder / "README.md", CARD)
    return len(table(records))
