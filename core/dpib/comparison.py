"""Records against others: one method's against the rest, ours against the paper's and its findings. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dpib.errors import ConfigError
from dpib.grids.grid import Finding, Selection
from dpib.query import KEYS, name_of
from dpib.standings import CELL, HEADLINE, MIN_SEEDS, standings
from dpib.uncertainty import half_width_of_difference, half_width_of_sum

Verdict = Literal["holds", "does not hold", "cannot be told"]
RULE = (
    "A finding holds if the better side's mean over the other's, averaged over the cells (dataset, ε) that have both, "
    "is above 0 by more than its 95 % interval, and does not if it is below 0 by as much. A side's mean is that of its "
    "methods, each the mean of its configurations. Cells where a method that "
    f"a side names has fewer than {MIN_SEEDS} seeds do not count. If no cell counts, or the interval holds 0, it "
    "cannot be told at this budget. A finding that names no method compares each private one with itself, so one that "
    f"only one side has, or that has fewer than {MIN_SEEDS} seeds, does not count. "
    "A finding about every method compares each of one side with each of the other, "
    "with intervals that hold together at 95 % (Bonferroni): it holds if all are surely better, and does not if one is "
    "surely worse; the difference shown is that of the pair that speaks most against it."
)
MIN_METHODS = 3
"""Fewer methods have no order to speak of."""


def against_paper(frame: pd.DataFrame, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the standings with the paper's number for each.

    Args:
        frame: records with the paper's columns (``dpib.paper.put_beside``).
        known: see ``standings``.

    Returns:
        ``standings`` plus ``paper`` (NaN where the paper has none) and ``copy_of_data``.
    """
    column = f"paper:{HEADLINE}"
    papers = frame.assign(paper=frame.get(column, np.nan))
    papers = papers.groupby(list(KEYS), as_index=False)[["paper", "copy_of_data"]].first()
    return standings(frame, known=known).merge(papers, on=list(KEYS), how="left")


def against_method(frame: pd.DataFrame, name: str, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the standings with their difference to one configuration, in the cells that have it.

    Args:
        frame: at least one record, as ``dpib.results`` returns them.
        name: a configuration as tables show it, such as ``"dp-merf"`` or ``"dp-merf +omniglot-28:5%"``.
        known: see ``standings``.

    Returns:
        ``standings`` plus ``label``, ``difference`` (percentage points, above 0: better than ``name``), ``interval``
        (half-width, 95 %) and ``verdict``: ``better``, ``worse``, or why neither is told.

    Raises:
        ConfigError: if no record is of that configuration.
    """
    table = standings(frame, known=known)
    table = table.assign(label=[name_of(row) for row in table.itertuples()])
    chosen = table[(table["label"] == name) & ~table["tuned"]]
    if chosen.empty:
        there = ", ".join(sorted(set(table["label"])))
        raise ConfigError(f"No record is of '{name}'. Expected --against paper, or what one of them is of: {there}.")
    rival = chosen[[*CELL, "mean", "stderr", "freedom", "source", "seeds"]]
    pairs = table.merge(rival, on=CELL, suffixes=("", "_than"))
    pairs = pairs[(pairs["label"] != name) | pairs["tuned"]].reset_index(drop=True)
    ours, theirs = ((pairs[f"stderr{side}"], pairs[f"freedom{side}"]) for side in ("", "_than"))
    difference = pairs["mean"] - pairs["mean_than"]
    interval = half_width_of_difference(ours, theirs, pairs["source"] == pairs["source_than"])
    few = pairs[["seeds", "seeds_than"]].min(axis=1) < MIN_SEEDS
    verdict = np.select(
        [few, difference > interval, difference < -interval],
        [f"fewer than {MIN_SEEDS} seeds", "better", "worse"],
        "the interval holds 0",
    )
    return pairs[table.columns].assign(difference=difference, interval=interval, verdict=verdict)


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ between the order of our means and the paper's, in one cell.

    Attributes:
        configurations: how many it orders; a method may have several.
    """

    track: str
    dataset: str
    epsilon: float
    tau: float
    configurations: int


def kendall(table: pd.DataFrame) -> Iterator[Agreement]:
    """Yield the agreement of each cell that holds at least three methods, references apart, with numbers of both.

    Args:
        table: of ``against_paper``.
    """
    from scipy.stats import kendalltau

    both = table[table["paper"].notna() & ~table["reference"] & ~table["tuned"]]
    for (track, dataset, epsilon), cell in both.groupby(CELL):
        if cell["method"].nunique() >= MIN_METHODS:
            tau = float(kendalltau(cell["mean"], cell["paper"]).statistic)
            yield Agreement(str(track), str(dataset), float(epsilon), tau, len(cell))


@dataclass(frozen=True)
class Judged:
    """A finding and what the records say.

    Attributes:
        difference: better side less the other, in percentage points; None if nothing can be compared.
        interval: half-width of its 95 % interval.
        cells: how many cells were compared: those with enough seeds or, if there is none, all with both sides.
        why: why it cannot be told; which methods did not count, if none is named; of a finding about every method,
            which pair the difference is of.
    """

    finding: Finding
    verdict: Verdict
    difference: float | None = None
    interval: float | None = None
    cells: int = 0
    why: str = ""


def judge(finding: Finding, table: pd.DataFrame) -> Judged:
    """Return what records say about a finding, by ``RULE``.

    Args:
        finding: with both sides; one without cannot be told.
        table: of ``dpib.standings``.
    """
    if finding.better is None or finding.than is None:
        return Judged(finding, "cannot be told", why="no computed check")
    named = {*finding.better.model_dump(exclude_none=True), *finding.than.model_dump(exclude_none=True)}
    cell = [name for name in CELL if name not in named or _same(finding, name)]
    if table.empty:
        return Judged(finding, "cannot be told", why="no records")
    rows = table[~table["tuned"]]
    selections = finding.better, finding.than
    sides = [_chosen(rows, selection) for selection in selections]
    matched = cell
    if "method" not in named:
        matched = [*cell, "method"]
        sides = [side[~side["reference"]] for side in sides]
        sides = [*_in_common(sides[0], sides[1], matched)]
    full = [_with_seeds(side, selection, matched) for side, selection in zip(sides, selections, strict=True)]
    enough = _in_common(full[0], full[1], matched)
    better, than = enough if len(enough[0]) else _in_common(sides[0], sides[1], matched)
    if better.empty:
        return Judged(finding, "cannot be told", why="no cell has records of both sides")
    if finding.every:
        difference, interval, pair = _weakest_pair(better, than, matched)
    else:
        difference, interval, pair = _means(better, than, cell)
    verdict: Verdict = "holds" if difference > 0 else "does not hold"
    reasons, few = [], ""
    if enough[0].empty:
        which = "a method named" if "method" in named else "every method"
        reasons.append(f"{which} has fewer than {MIN_SEEDS} seeds")
    elif abs(difference) <= interval:
        reasons.append("the interval holds 0")
    if "method" not in named and len(enough[0]):
        few = ", ".join(sorted({*pd.concat(sides).query(f"seeds < {MIN_SEEDS}")["method"]}))
    why = "; ".join(filter(None, (*reasons, few and f"without {few} where seeds are fewer than {MIN_SEEDS}", pair)))
    return Judged(
        finding, "cannot be told" if reasons else verdict, difference, interval, better.groupby(cell).ngroups, why
    )


def _chosen(table: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    for column, wanted in selection.model_dump(exclude_none=True).items():
        table = table[table[column].isin([*wanted])]
    return table


def _with_seeds(side: pd.DataFrame, selection: Selection, matched: list[str]) -> pd.DataFrame:
    """Return the rows of groups in which every method that a side names is there, with enough seeds."""
    cells = side.groupby(matched)
    named = cells["method"].transform("nunique") >= len(selection.method or ("any",))
    return side[named & (cells["seeds"].transform("min") >= MIN_SEEDS)]


def _in_common(better: pd.DataFrame, than: pd.DataFrame, matched: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    groups = better[matched].merge(than[matched]).drop_duplicates()
    return better.merge(groups), than.merge(groups)


def _means(better: pd.DataFrame, than: pd.DataFrame, cell: list[str]) -> tuple[float, float, str]:
    """Return the difference of the sides' means, averaged over cells, with its interval."""
    rows = pd.concat([better.assign(sign=1.0), than.assign(sign=-1.0)], ignore_index=True)
    n_methods = rows.groupby([*cell, "sign"])["method"].transform("nunique")
    n_configurations = rows.groupby([*cell, "sign", "method"])["method"].transform("size")
    weight = rows["sign"] / n_configurations / n_methods / rows.groupby(cell).ngroups
    interval = half_width_of_sum((weight * rows["stderr"]) ** 2, rows["freedom"], rows["source"])
    return float((weight * rows["mean"]).sum()), interval, ""


def _weakest_pair(better: pd.DataFrame, than: pd.DataFrame, matched: list[str]) -> tuple[float, float, str]:
    """Return difference, interval and names of the pair that speaks most against a finding about every method."""
    pairs = better.merge(than, on=matched, suffixes=("", "_than"))
    ours, theirs = ((pairs[f"stderr{side}"], pairs[f"freedom{side}"]) for side in ("", "_than"))
    same = pairs["source"] == pairs["source_than"]
    interval = half_width_of_difference(ours, theirs, same, intervals=len(pairs))
    pairs = pairs.assign(difference=pairs["mean"] - pairs["mean_than"], interval=interval)
    weakest = pairs.loc[(pairs["difference"] / pairs["interval"]).fillna(0.0).idxmin()]  # 0 ± 0 is a tie
    names = " less ".join(weakest.filter(like="method"))
    return float(weakest["difference"]), float(weakest["interval"]), names


def _same(finding: Finding, name: str) -> bool:
    """Whether both sides name the same values, so that it does not tell them apart."""
    assert finding.better is not None and finding.than is not None
    values: tuple[object, object] = (getattr(finding.better, name), getattr(finding.than, name))
    return values[0] == values[1]
