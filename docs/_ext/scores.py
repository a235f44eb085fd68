"""Markdown of what reviewed records in ``submissions/`` say: a number that a page shows is that of the board.

Scores are those that reviews recomputed from the images; times are of the hardware that most seeds of a row share.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
from cards import ROOT, table

from dpib.comparison import against_paper, judge, kendall
from dpib.grids.grid import Grid, read_grid
from dpib.paper import put_beside
from dpib.query import KEYS, name_of, records_of, select
from dpib.standings import CELL, HEADLINE
from dpib_leaderboard import rows
from dpib_leaderboard.entries import read_entries
from dpib_leaderboard.report import tables

TRACK = "lite"
TWINS = {
    "utility": "utility (Tables VII, VIII)",
    "selection": "selection (Table XIII)",
    "shortcut": "shortcut (Table XIV)",
    "epsilon": "privacy budgets (Figure 5)",
}
"""Grids below ``experiments/lite`` whose reports are committed, and what they are."""
_TABLES = ("XIII", "XIV", "Fig. 5")
"""Tables and figures of the paper that have runs beside those of its general tables."""
BASELINE = "dp-means"
_PROTOCOLS = {"noisy-senv": "Noisy SenV", "synv": "SynV", "testfix": "TestFix"}


@cache
def _reviewed() -> pd.DataFrame:
    """Return the accepted records of the track, as ``dpib.results`` returns records."""
    entries = read_entries(ROOT / "submissions")
    frame = select(rows.table([one for one in entries if one.level and not one.withdrawn]), track=TRACK)
    return frame[frame["superseded_by"].isna()]


@cache
def _standings() -> pd.DataFrame:
    """Return their standings, with ``label``, the paper's number and means of what else a page shows."""
    frame = _beside_the_paper()
    means = {"testfix": "accuracy[testfix]", "distance": "fd-effnet"}
    more = frame.groupby([*KEYS], as_index=False).agg(
        **{name: (column, "mean") for name, column in means.items()},
        gib=("peak_gib", "max"),
        gpu=("peak_gpu_gib", lambda values: values.notna().mean() > 0.5),
        each=(HEADLINE, lambda values: sorted(values, reverse=True)),
    )
    found = against_paper(frame).merge(more, on=[*KEYS])
    return found.assign(label=[name_of(row) + (" (tuned)" if row.tuned else "") for row in found.itertuples()])


def _beside_the_paper() -> pd.DataFrame:
    """Return the records with the paper's numbers: of its general tables, else of the first that has the run."""
    frame = put_beside(_reviewed())
    headline = f"paper:{HEADLINE}"
    for name in _TABLES:
        frame[headline] = frame[headline].fillna(put_beside(_reviewed(), name)[headline])
    return frame


def method_scores(method: str) -> str:
    """Return a row for each configuration of a method and cell, beside the trivial baseline and the paper's number.

    Args:
        method: its name.
    """
    found = _standings()
    baseline = found[found["method"] == BASELINE].set_index(CELL)["mean"]
    titles = ("data", "ε", "what", "Acc", "TestFix", "FD-EffNet", f"`{BASELINE}`", "the paper's", "minutes", "GiB")
    lines = (
        (
            f"`{row.dataset}`",
            f"{row.epsilon:g}",
            what if (what := row.label.removeprefix(method).strip()) else "as it is",
            _mean(row) + _several(row.each),
            _number(row.testfix, 1),
            _number(row.distance, 0),
            _number(baseline.get((row.track, row.dataset, row.epsilon), float("nan")), 1),
            _number(row.paper, 1),
            _number(row.minutes, 1) + (" (GPU)" if row.gpu else ""),
            _number(row.gib, 1),
        )
        for row in found[found["method"] == method].sort_values([*CELL, "label"]).itertuples()
    )
    return table(titles, lines)


def accuracies(dataset: str) -> str:
    """Return a row for each configuration and a column for each ε: accuracy, and the paper's in brackets.

    Args:
        dataset: its name.
    """
    found = _standings()
    found = found[found["dataset"] == dataset]
    budgets = sorted(set(found["epsilon"]))
    cells = {(row.label, row.epsilon): _cell(row) for row in found.itertuples()}
    order = found.groupby("label")["mean"].max().sort_values(ascending=False, kind="stable").index
    lines = ([f"`{label}`", *(cells.get((label, epsilon), "") for epsilon in budgets)] for label in order)
    return table(("", *(f"ε = {epsilon:g}" for epsilon in budgets)), lines)


def twins() -> str:
    """Return how much of each ``lite`` twin is done and how its order agrees with the paper's Table VIII."""
    lines = []
    for name, title in TWINS.items():
        grid, frame = _of(name)
        agreed = (
            f"`{one.dataset}`, ε = {one.epsilon:g}: {one.tau:+.2f} ({one.configurations} configurations)"
            for one in kendall(frame)
        )
        done = f"{len(records_of((unit.spec for unit in grid.units), _reviewed()))} of {len(grid.units)}"
        lines.append((title, done, "; ".join(agreed), f"[page](results/{name}/index.html)"))
    return table(("experiment", "runs done", "Kendall's τ with the paper", "report"), lines)


def verdicts() -> str:
    """Return what the records of the ``lite`` twins say about each finding."""
    lines: list[tuple[str, ...]] = []
    for name in TWINS:
        grid, frame = _of(name)
        told = tables.findings([judge(finding, frame) for finding in grid.findings])
        lines += told.rows
    return table(told.columns, lines)


def selection_gaps() -> str:
    """Return by how much SenV exceeds the other protocols at each ε, over pairs of dataset and method that pay.

    A pair is the mean over its records, as in the snippet of the page.
    """
    paid = _reviewed()[_reviewed()["assurance"] == "mechanism"]
    gaps = {of: paid["accuracy[senv]"] - paid[f"accuracy[{of}]"] for of in ("noisy-senv", "synv", "testfix")}
    pairs = paid.assign(**gaps).groupby(["epsilon", "dataset", "method"])[[*gaps]].mean()
    lines = (
        (
            f"SenV - {_PROTOCOLS[of]}",
            f"{epsilon:g}",
            *(f"{number:.2f}" for number in (some.mean(), some.std(), some.max())),
            len(some),
        )
        for of in gaps
        for epsilon, some in pairs[of].groupby("epsilon")
    )
    return table(("", "ε", "mean", "sd", "largest", "pairs"), lines)


def _of(name: str) -> tuple[Grid, pd.DataFrame]:
    grid = read_grid(ROOT / "experiments" / TRACK / f"{name}.toml")
    frame = put_beside(records_of((unit.spec for unit in grid.units), _reviewed()), grid.paper)
    return grid, against_paper(frame, known=_reviewed())


def _cell(row: Any) -> str:
    return _mean(row) if pd.isna(row.paper) else f"{_mean(row)} ({row.paper:.1f})"


def _mean(row: Any) -> str:
    return f"{row.mean:.1f} ± {row.high - row.mean:.1f}" if row.seeds > 1 else f"{row.mean:.1f}"


def _several(values: list[float]) -> str:
    return f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"
