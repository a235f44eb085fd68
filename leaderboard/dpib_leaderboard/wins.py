"""Who surely beats whom, and in how many cells of a track: the win matrix of a board. Imports no torch."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dpib_leaderboard.overall import LABEL, MIN_METHODS, label_of

MIN_CELLS = 3
"""Cells that ``MIN_METHODS`` methods must share to stand in the matrix of a track."""

MAX_METHODS = 12
"""Methods that are listed: those with the largest share of wins less losses."""


def _listed(present: np.ndarray) -> np.ndarray:
    """Return which methods share ``MIN_CELLS`` cells with enough others.

    Args:
        present: bool (methods, cells): which method is ranked where.

    Returns:
        Bool (methods,): True iff some ``MIN_CELLS`` cells hold this method and at least ``MIN_METHODS - 1`` more.
    """
    listed = np.zeros(len(present), bool)
    for cells in itertools.combinations(range(present.shape[1]), MIN_CELLS):
        complete = present[:, cells].all(axis=1)
        if complete.sum() >= MIN_METHODS:
            listed |= complete
    return listed


def _matrix(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = sorted({label_of(row) for row in rows})
    cells = sorted({(row["dataset"], row["epsilon"]) for row in rows})
    line = {label: i for i, label in enumerate(labels)}
    column = {cell: i for i, cell in enumerate(cells)}
    best = np.zeros((len(labels), len(cells)), int)
    worst = np.zeros_like(best)
    for row in rows:
        place = line[label_of(row)], column[row["dataset"], row["epsilon"]]
        best[place], worst[place] = row["rank_best"], row["rank_worst"]
    chosen = np.flatnonzero(_listed(best > 0))
    best, worst = best[chosen], worst[chosen]
    present = best > 0
    common = present.astype(int) @ present.T.astype(int)
    np.fill_diagonal(common, 0)
    by_cell = [
        has[:, None] & has & (last[:, None] < first)
        for has, first, last in zip(present.T, best.T, worst.T, strict=True)
    ]
    wins = np.sum(by_cell, axis=0)
    share = (wins - wins.T) / np.maximum(common, 1)
    order = np.argsort(-share.sum(axis=1), kind="stable")[:MAX_METHODS]
    return {
        "methods": [dict(zip(LABEL, labels[chosen[i]], strict=True)) for i in order],
        "left_out": len(chosen) - len(order),
        "wins": wins[np.ix_(order, order)].tolist(),
        "common": common[np.ix_(order, order)].tolist(),
    }


def win_matrices(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, per track, in how many common cells one method is surely better than another.

    A cell is a dataset and ε in which both are ranked. One is surely better where its whole rank interval lies before
    the other's, so both halves of a pair may be 0. Ranks are those of the whole table. A method is listed if it is
    ranked in at least ``MIN_CELLS`` cells together with ``MIN_METHODS - 1`` others; with fewer the matrix is empty.

    Args:
        rows: of standings.

    Returns:
        Per track ``methods`` (at most ``MAX_METHODS``, most wins less losses first), ``left_out`` (how many more there
        are), and the square matrices ``wins`` and ``common``: row i, column j counts where i beats j, and how many
        cells both are ranked in.
    """
    tracks: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["ranked"]:
            tracks[row["track"]].append(row)
    return {track: _matrix(ranked) for track, ranked in tracks.items()}
