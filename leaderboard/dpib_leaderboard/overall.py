"""One order over a whole track: mean rank, with an interval from a bootstrap over its cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

MIN_CELLS = 4
"""Fewer cells order nothing: too few to resample."""

MIN_METHODS = 3
"""A cell with fewer ranked methods compares nobody; if it counted, one method alone in one would empty the order."""

RESAMPLES = 2_000


LABEL = ("method", "variant", "public", "pretrain", "preludes", "overrides", "tuned")
"""What tells one configuration of a method from another: two changed settings are two."""


def label_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of ``LABEL``."""
    return tuple(row[name] for name in LABEL)


def _places(sampled: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """Return, per method and resample, how many methods have a smaller (left) or no larger (right) mean rank.

    A column at a time: comparing all pairs of a large board in all resamples at once would not fit in memory.
    """
    columns = [np.searchsorted(np.sort(column), column, side) for column in sampled.T]
    return np.stack(columns, axis=1)


def _track_standings(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cells = sorted({(row["dataset"], row["epsilon"]) for row in rows})
    means = {(label_of(row), (row["dataset"], row["epsilon"])): row["mean"] for row in rows}
    places = {
        (label_of(row), (row["dataset"], row["epsilon"])): (row["rank_best"] + row["rank_worst"]) / 2 for row in rows
    }
    complete = sorted({label for label, _ in means if all((label, cell) in means for cell in cells)})
    if not complete:
        return []
    scores = np.array([[means[label, cell] for cell in cells] for label in complete])
    ranks = np.array([[places[label, cell] for cell in cells] for label in complete])
    mean_rank = ranks.mean(axis=1)
    low, high = np.full(len(complete), 1), np.full(len(complete), len(complete))
    if len(cells) >= MIN_CELLS:
        draws = np.random.default_rng(0).integers(len(cells), size=(RESAMPLES, len(cells)))
        sampled = ranks[:, draws].mean(axis=2)
        place_best = 1 + _places(sampled, "left")
        place_worst = _places(sampled, "right")
        low = np.floor(np.quantile(place_best, 0.025, axis=1)).astype(int)
        high = np.ceil(np.quantile(place_worst, 0.975, axis=1)).astype(int)
    return [
        {
            **dict(zip(LABEL, complete[i], strict=True)),
            "mean_rank": float(mean_rank[i]),
            "best": int(low[i]),
            "worst": int(high[i]),
            "accuracy": float(scores[i].mean()),
        }
        for i in np.lexsort((-scores.mean(axis=1), mean_rank))
    ]


def overall_standings(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, per track, methods that are ranked in every cell, in order of mean rank, with rank intervals.

    Cells are those in which at least ``MIN_METHODS`` methods are ranked. A method's rank in a cell is the middle of its
    rank interval, so that what a cell cannot separate stays tied. With fewer than ``MIN_CELLS`` cells every interval
    spans all methods. A method without a rank in some cell has no mean and is left out.
    """
    tracks: dict[str, dict[tuple[Any, ...], list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["ranked"]:
            tracks[row["track"]][row["dataset"], row["epsilon"]].append(row)
    found = {}
    for track, cells in tracks.items():
        compared = [cell for cell in cells.values() if len({row["method"] for row in cell}) >= MIN_METHODS]
        found[track] = {
            "cells": len(compared),
            "enough": len(compared) >= MIN_CELLS,
            "methods": _track_standings([row for cell in compared for row in cell]),
        }
    return found
