"""The pictures of a report, drawn by matplotlib: vectors for pages and papers. Imports no torch."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

ACCURACY = "Accuracy (%), Noisy SenV"
_OURS, _PAPER, _GREY = "#0072b2", "#d55e00", "#555555"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#5e3c99")
"""Told apart with colour-blind eyes (Okabe and Ito, two more for yellow and black)."""
_MARKERS = ("o", "s", "^", "v", "D", "P", "X")
_REFERENCE_LINES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "dpib",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """One picture as files.

    Attributes:
        name: of its file, without the ending.
        title: what it shows, in words.
        paired: it belongs beside the next one.
    """

    name: str
    title: str
    svg: bytes
    pdf: bytes
    paired: bool = False


def pictures(table: pd.DataFrame, labels: pd.Series) -> Iterator[Picture]:
    """Yield the pictures of an experiment: by dataset the curves over ε, by ε accuracies and costs of all methods.

    Args:
        table: of ``dpib.comparison.against_paper``.
        labels: of its rows, in words.
    """
    with mpl.rc_context(_STYLE):
        table = table.assign(label=labels)
        looks = dict(zip(labels.unique(), cycle((c, m) for m in _MARKERS for c in _COLOURS), strict=False))
        for (track, dataset), part in table.groupby(["track", "dataset"]):
            place = f"{track}-{dataset}"
            if part.groupby("label")["epsilon"].nunique().max() > 1:
                several = part.groupby("label")["epsilon"].transform("nunique") > 1
                yield _picture(f"curves-{place}", f"{dataset}: utility and privacy", _curves(part[several], looks))
            for epsilon, cell in part.groupby("epsilon"):
                where = f"{dataset}, ε = {epsilon:g}"
                yield _picture(f"utility-{place}-{epsilon:g}", f"{where}: utility", _dots(cell), paired=True)
                yield _picture(f"cost-{place}-{epsilon:g}", f"{where}: utility and time", _costs(cell, looks))


def _picture(name: str, title: str, figure: Figure, paired: bool = False) -> Picture:
    figure.axes[0].set_title(title, loc="left", fontweight="bold", fontsize=9)
    svg, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", bbox_inches="tight", metadata={"Date": None, "Title": title})
    figure.savefig(pdf, format="pdf", bbox_inches="tight", metadata={"CreationDate": None, "Title": title})
    return Picture(name, title, svg.getvalue(), pdf.getvalue(), paired)


def _axes(height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.4, height))
    axes = figure.add_subplot()
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes, *order: str) -> None:
    """Put a legend beside the axes, these labels first."""
    handles, labels = axes.get_legend_handles_labels()
    ranks = [order.index(label) if label in order else len(order) for label in labels]
    places = sorted(range(len(labels)), key=ranks.__getitem__)
    axes.legend(
        [handles[i] for i in places], [labels[i] for i in places], loc="upper left", bbox_to_anchor=(1.01, 1.02)
    )


def _dots(cell: pd.DataFrame) -> Figure:
    """Draw ours and the paper's accuracy, a line a method, and the references as lines across."""
    methods, references = (cell[cell["reference"] == is_one].sort_values("mean") for is_one in (False, True))
    figure, axes = _axes(0.9 + 0.19 * max(len(methods), 4))
    ours = {True: "ours, 95 % interval", False: "ours, fewer than 3 seeds"}
    for ranked, label in ours.items():
        rows = [(y, row) for y, row in enumerate(methods.itertuples()) if row.ranked == ranked]
        if rows:
            axes.errorbar(
                [row.mean for _, row in rows],
                [y for y, _ in rows],
                xerr=[row.high - row.mean for _, row in rows],
                fmt="o",
                color=_OURS,
                markerfacecolor=_OURS if ranked else "white",
                markersize=4,
                linewidth=1,
                label=label,
            )
    if methods["paper"].notna().any():
        axes.plot(methods["paper"], range(len(methods)), "D", color=_PAPER, mfc="white", ms=4, label="the paper's")
    for row, style in zip(references.iloc[::-1].itertuples(), cycle(_REFERENCE_LINES), strict=False):
        axes.axvline(row.mean, color=_GREY, linestyle=style, linewidth=1, label=row.label)
    axes.set_yticks(range(len(methods)), methods["label"])
    axes.set_ylim(-0.7, max(len(methods), 1) - 0.3)
    axes.set_xlim(_within_percent(axes.get_xlim()))
    axes.set_xlabel(ACCURACY)
    _legend(axes, *ours.values())
    return figure


def _costs(cell: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> Figure:
    """Draw accuracy against minutes, and the Pareto front of what is private; what has no time is left out."""
    figure, axes = _axes()
    cell = cell[cell["minutes"].notna()]
    for row in cell.itertuples():
        colour, marker = (_GREY, "o") if row.reference else looks[row.label]
        axes.errorbar(
            row.minutes,
            row.mean,
            yerr=row.high - row.mean,
            fmt=marker,
            color=colour,
            markerfacecolor="white" if row.reference else colour,
            markersize=5,
            linewidth=1,
            label=row.label,
        )
    front = pareto(cell[cell["spent_epsilon"].notna()])
    axes.plot(
        front["minutes"], front["mean"], color=_GREY, lw=0.8, drawstyle="steps-post", label="Pareto front, private"
    )
    axes.set_xscale("log")
    axes.set_xlabel("minutes per run, evaluation included")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(_within_percent(axes.get_ylim()))
    axes.set_ylabel(ACCURACY)
    _legend(axes)
    return figure


def pareto(cell: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that no other row beats in both ``minutes`` and ``mean``, the fastest first."""
    ordered = cell.sort_values(["minutes", "mean"], ascending=[True, False])
    return ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=float("-inf"))]


def _curves(part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> Figure:
    """Draw accuracy against ε: ours joined by lines, the paper's by dashed ones, references in grey."""
    figure, axes = _axes(3.6)
    styles = cycle(_REFERENCE_LINES)
    for label, rows in part.sort_values("epsilon").groupby("label", sort=False):
        if rows["reference"].any():
            axes.plot(rows["epsilon"], rows["mean"], color=_GREY, linestyle=next(styles), linewidth=1, label=label)
            continue
        colour, marker = looks[str(label)]
        error = rows["high"] - rows["mean"]
        axes.errorbar(rows["epsilon"], rows["mean"], error, color=colour, marker=marker, ms=4, lw=1.2, label=label)
        if rows["paper"].notna().any():
            axes.plot(rows["epsilon"], rows["paper"], color=colour, marker=marker, mfc="white", ms=4, ls="--", lw=0.8)
    if part["paper"].notna().any():
        axes.plot([], [], color="black", marker="o", mfc="white", ms=4, ls="--", lw=0.8, label="the paper's")
    axes.set_xscale("log")
    _tick_at(axes, part["epsilon"].unique())
    axes.set_xlabel("ε")
    axes.set_ylim(_within_percent(axes.get_ylim()))
    axes.set_ylabel(ACCURACY)
    _legend(axes)
    return figure


def _within_percent(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits of an axis without what no accuracy can be: wide intervals reach beyond, and are cut there."""
    return max(limits[0], 0.0), min(limits[1], 100.0)


def _tick_at(axes: Axes, values: Iterable[float]) -> None:
    values = sorted(values)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)
