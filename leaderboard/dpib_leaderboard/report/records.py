"""Which records a report is of, and which scores it shows. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dpib.query import row_of
from dpib_leaderboard.entries import read_entries


def records_shown(folders: Iterable[Path]) -> pd.DataFrame:
    """Return the records below folders, as ``dpib.results`` does; each once, none refused, withdrawn or superseded.

    Scores of a reviewed record are those that the review recomputed, as on a board; of others, their own.

    Args:
        folders: of runs, or results stores.
    """
    found = (entry for folder in folders for entry in read_entries(folder))
    standing = [entry for entry in found if not (entry.refused or entry.withdrawn)]
    replaced = {entry.record.supersedes for entry in standing}
    entries = [entry for entry in standing if entry.record.id not in replaced]
    entries.sort(key=lambda entry: -entry.level)  # a record that lies in two places is the reviewed one
    rows = [{**row_of(one.shown if one.level else one.record), "path": str(one.path)} for one in entries]
    return pd.DataFrame(rows).drop_duplicates("id", ignore_index=True) if rows else pd.DataFrame()
