"""The tables of a report as names of columns and rows of text. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dpib.comparison import MIN_METHODS, Judged, kendall
from dpib.query import COSTS, KEYS, name_of, score_columns
from dpib.standings import CELL, surely_better

_RESOURCES = {
    "pretrain_minutes": ("pretraining, h", "hours[pretrain]"),
    "learn_minutes": ("learning, h", "hours[fine-tune]"),
    "generate_minutes": ("generation, h", "hours[synthesis]"),
    "peak_gib": ("memory, GiB", ""),
    "peak_gpu_gib": ("GPU memory, GiB", "memory-gb"),
}
"""Our costs, how a table calls them, and the paper's of Table XIX."""

_PLACE = ("track", "dataset", "ε", "method")
_DIGITS = ((100, 0), (10, 1), (1, 2), (0, 3))
"""Numbers from this size on have so many decimals."""


@dataclass(frozen=True)
class Table:
    """Columns and rows, all text."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def _place(row: Any) -> tuple[str, str, str, str]:
    return row.track, row.dataset + (" *" if row.copy_of_data else ""), f"{row.epsilon:g}", name_of(row)


def findings(judged: list[Judged]) -> Table:
    """Return the verdicts, with remarks if there are any."""
    remarks = any(one.finding.remark for one in judged)
    rows = []
    for one in judged:
        cells = "one cell" if one.cells == 1 else f"{one.cells} cells"
        numbers = "" if one.difference is None else f"{one.difference:+.1f} ± {one.interval:.1f} over {cells}"
        told = one.verdict + (f" ({one.why})" if one.why else "")
        row = (one.finding.text, one.finding.source, told, numbers)
        rows.append((*row, one.finding.remark) if remarks else row)
    columns = ("finding", "source", "at this budget", "difference, points")
    return Table((*columns, "remark") if remarks else columns, rows)


def accuracies(table: pd.DataFrame) -> Table:
    """Return accuracy, rank and the paper's number of every configuration."""
    rows = [
        (
            *_place(row),
            f"{row.mean:.1f} ± {row.high - row.mean:.1f}",
            str(row.seeds),
            f"{row.rank_best}-{row.rank_worst}" if row.ranked else "reference" if row.reference else "not ranked",
            "" if pd.isna(row.paper) else f"{row.paper:.1f}",
            "" if pd.isna(row.minutes) else f"{row.minutes:.1f}",
        )
        for row in table.itertuples()
    ]
    return Table((*_PLACE, "ours, %", "seeds", "rank", "paper, %", "minutes"), rows)


def agreement(table: pd.DataFrame) -> Table:
    """Return Kendall's τ with the paper's order, by dataset and ε."""
    rows = [
        (one.track, one.dataset, f"{one.epsilon:g}", f"{one.tau:+.2f}", str(one.configurations))
        for one in kendall(table)
    ]
    return Table((*_PLACE[:3], "τ", "configurations"), rows)


def metrics(frame: pd.DataFrame) -> Table:
    """Return every score of every configuration, means over seeds; in brackets what the paper prints."""
    ours = score_columns(frame)
    theirs = [name.removeprefix("paper:") for name in frame if name.startswith("paper:")]
    names = [
        *ours,
        *(name for name in theirs if name not in ours and name not in {of for _, of in _RESOURCES.values()}),
    ]
    return _means(frame, {name: (name, f"paper:{name}") for name in names})


def resources(frame: pd.DataFrame) -> Table:
    """Return hours and memory, means over seeds; in brackets what the paper prints. Pretraining is its maker's."""
    made = frame.groupby([*KEYS])["pretrain_minutes"].transform("max")
    frame = frame.assign(pretrain_minutes=made)
    hours = frame.assign(**{name: frame[name] / 60 for name in COSTS if name.endswith("minutes")})
    return _means(hours, {ours: (title, f"paper:{theirs}") for ours, (title, theirs) in _RESOURCES.items()})


def _means(frame: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> Table:
    """Return means of columns, each with its title and the paper's column; what nobody has is left out."""
    groups = [group for _, group in frame.groupby([*KEYS])]
    found = {title: [_beside(group, ours, theirs) for group in groups] for ours, (title, theirs) in columns.items()}
    shown = {title: cells for title, cells in found.items() if any(cells)}
    places = [_place(next(group.itertuples())) for group in groups]
    rows = [(*place, *cells) for place, *cells in zip(places, *shown.values(), strict=True)]
    return Table((*_PLACE, *shown), rows)


def _beside(group: pd.DataFrame, ours: str, theirs: str) -> str:
    """Return our mean with the paper's number in brackets, whichever there are."""
    mean, published = (group[name].astype(float).mean() if name in group else float("nan") for name in (ours, theirs))
    digits = next((digits for size, digits in _DIGITS if abs(mean) >= size), 0)
    return " ".join(
        text for number, text in ((mean, f"{mean:.{digits}f}"), (published, f"({published:g})")) if not pd.isna(number)
    )


def wins(table: pd.DataFrame) -> Iterator[tuple[str, Table]]:
    """Yield by track in how many common cells the method of a row is surely better than that of a column.

    Cells with fewer than three ranked methods are left out; most wins less losses go first.
    """
    named = table.assign(name=[name_of(row) for row in table.itertuples()])
    for track, rows in named[named["ranked"]].groupby("track"):
        cells = [cell for _, cell in rows.groupby(CELL) if len(cell) >= MIN_METHODS]
        names = sorted({name for cell in cells for name in cell["name"]})
        won, common = (pd.DataFrame(0, index=names, columns=names) for _ in range(2))
        for cell in cells:
            won.loc[cell["name"], cell["name"]] += surely_better(cell)
            common.loc[cell["name"], cell["name"]] += 1
        order = (won - won.T).sum(axis=1).sort_values(ascending=False, kind="stable").index
        shares = won.astype(str) + "/" + common.astype(str)
        shares = shares.where(common.astype(bool) & ~np.eye(len(names), dtype=bool), "").loc[order, order]
        if cells:
            yield str(track), Table(("surely better than", *order), [tuple(row) for row in shares.itertuples()])
