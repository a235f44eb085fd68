"""Ours against the paper's: numbers side by side, agreement of ranks, and what its findings become. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dpib.grids.grid import Finding, Selection
from dpib.query import KEYS
from dpib.standings import HEADLINE, MIN_SEEDS, standings
from dpib.uncertainty import half_width, half_width_of_difference

Verdict = Literal["holds", "does not hold", "cannot be told"]
RULE = (
    "A finding holds if the better side's mean over the other's, averaged over the cells (dataset, ε) that have both, "
    "is above 0 by more than its 95 % interval, and does not if it is below 0 by as much. Cells where a method of "
    f"either side has fewer than {MIN_SEEDS} seeds do not count. If no cell counts, or the interval holds 0, it cannot "
    "be told at this budget. A finding about every method compares each of one side with each of the other, with "
    "intervals that hold together at 95 % (Bonferroni): it holds if all are surely better, and does not if one is "
    "surely worse; the difference shown is that of the pair that speaks most against it."
)
_NO_CELL = "no cell has records of both sides"
_FEW_SEEDS = f"a side has fewer than {MIN_SEEDS} seeds"
MIN_METHODS = 3
"""Fewer methods have no order to speak of."""


def against_paper(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the standings with the paper's number for each.

    Args:
        frame: records with the paper's columns (``dpib.paper.put_beside``).

    Returns:
        ``standings`` plus ``paper`` (NaN where the paper has none) and ``copy_of_data``.
    """
    column = f"paper:{HEADLINE}"
    papers = frame.assign(paper=frame.get(column, np.nan))
    papers = papers.groupby(list(KEYS), as_index=False)[["paper", "copy_of_data"]].first()
    return standings(frame).merge(papers, on=list(KEYS), how="left")


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ between the order of our means and the paper's, in one cell."""

    dataset: str
    epsilon: float
    tau: float
    methods: int


def kendall(table: pd.DataFrame) -> Iterator[Agreement]:
    """Yield the agreement of each cell that holds at least three methods, references apart, with numbers of both.

    Args:
        table: of ``against_paper``.
    """
    from scipy.stats import kendalltau

    both = table[table["paper"].notna() & ~table["reference"] & ~table["tuned"]]
    for (dataset, epsilon), cell in both.groupby(["dataset", "epsilon"]):
        if len(cell) >= MIN_METHODS:
            tau = float(kendalltau(cell["mean"], cell["paper"]).statistic)
            yield Agreement(str(dataset), float(epsilon), tau, len(cell))


@dataclass(frozen=True)
class Judged:
    """A finding and what the records say.

    Attributes:
        difference: better side less the other, in percentage points; None if nothing can be compared.
        interval: half-width of its 95 % interval.
        cells: how many (dataset, ε) were compared: those with enough seeds or, if there is none, all with both sides.
        why: why it cannot be told; of a finding about every method, which pair the difference is of.
    """

    finding: Finding
    verdict: Verdict
    difference: float | None = None
    interval: float | None = None
    cells: int = 0
    why: str = ""


def _side(rows: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """Return mean, its squared error, how uncertain that is, and fewest seeds of a side's rows, by cell."""
    if not cell:
        rows, cell = rows.assign(everything=0), ["everything"]
    square = rows["stderr"] ** 2
    grouped = rows.assign(square=square, doubt=square**2 / rows["freedom"]).groupby(cell)
    sums = grouped.agg(
        mean=("mean", "mean"),
        square=("square", "sum"),
        doubt=("doubt", "sum"),
        n=("mean", "size"),
        seeds=("seeds", "min"),
    )
    return sums.assign(square=sums["square"] / sums["n"] ** 2, doubt=sums["doubt"] / sums["n"] ** 4)


def judge(finding: Finding, table: pd.DataFrame) -> Judged:
    """Return what records say about a finding, by ``RULE``.

    Args:
        finding: with both sides; one without cannot be told.
        table: of ``dpib.standings``.
    """
    if finding.better is None or finding.than is None:
        return Judged(finding, "cannot be told", why="no computed check")
    named = {*finding.better.model_dump(exclude_none=True), *finding.than.model_dump(exclude_none=True)}
    cell = [name for name in ("dataset", "epsilon") if name not in named or _same(finding, name)]
    if table.empty:
        return Judged(finding, "cannot be told", why="no records")
    rows = table[~table["tuned"]]
    better, than = _chosen(rows, finding.better), _chosen(rows, finding.than)
    if finding.every:
        return _judge_pairs(finding, better, than, cell)
    return _judge_means(finding, better, than, cell)


def _chosen(table: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    for column, wanted in selection.model_dump(exclude_none=True).items():
        table = table[table[column].isin([*wanted])]
    return table


def _judge_means(finding: Finding, better: pd.DataFrame, than: pd.DataFrame, cell: list[str]) -> Judged:
    both = _side(better, cell).join(_side(than, cell), how="inner", rsuffix="_than")
    if both.empty:
        return Judged(finding, "cannot be told", why=_NO_CELL)
    enough = both[both[["seeds", "seeds_than"]].min(axis=1) >= MIN_SEEDS]
    both = both if enough.empty else enough
    difference = float((both["mean"] - both["mean_than"]).mean())
    square, doubt = ((both[name] + both[f"{name}_than"]).sum() for name in ("square", "doubt"))
    interval = float(half_width(np.sqrt(square), square**2 / doubt if doubt else np.inf)) / len(both)
    if enough.empty:
        return Judged(finding, "cannot be told", difference, interval, len(both), _FEW_SEEDS)
    if abs(difference) <= interval:
        return Judged(finding, "cannot be told", difference, interval, len(both), "the interval holds 0")
    return Judged(finding, "holds" if difference > 0 else "does not hold", difference, interval, len(both))


def _judge_pairs(finding: Finding, better: pd.DataFrame, than: pd.DataFrame, cell: list[str]) -> Judged:
    pairs = (
        better.merge(than, on=cell, suffixes=("", "_than"))
        if cell
        else better.merge(than, "cross", suffixes=("", "_than"))
    )
    if pairs.empty:
        return Judged(finding, "cannot be told", why=_NO_CELL)
    seeds = pairs[["seeds", "seeds_than"]].min(axis=1)
    cells = pairs.assign(fewest=seeds).groupby(cell)["fewest"].transform("min") if cell else seeds.min()
    enough = pairs[cells >= MIN_SEEDS]
    told = pairs if enough.empty else enough
    ours, theirs = ((told[f"stderr{side}"], told[f"freedom{side}"]) for side in ("", "_than"))
    interval = half_width_of_difference(ours, theirs, intervals=len(told))
    told = told.assign(difference=told["mean"] - told["mean_than"], interval=interval)
    told = told.assign(surely=told["difference"] / told["interval"]).sort_values("surely")
    least = told.iloc[0]
    numbers = (float(least["difference"]), float(least["interval"]), told.groupby(cell).ngroups if cell else 1)
    pair = f"{least['method']} less {least['method_than']}"
    if enough.empty:
        return Judged(finding, "cannot be told", *numbers, f"{_FEW_SEEDS}; {pair}")
    verdict: Verdict = "holds" if least["surely"] > 1 else "does not hold" if least["surely"] < -1 else "cannot be told"
    return Judged(finding, verdict, *numbers, pair)


def _same(finding: Finding, name: str) -> bool:
    """Whether both sides name the same values, so that it does not tell them apart."""
    assert finding.better is not None and finding.than is not None
    values: tuple[object, object] = (getattr(finding.better, name), getattr(finding.than, name))
    return values[0] == values[1]
