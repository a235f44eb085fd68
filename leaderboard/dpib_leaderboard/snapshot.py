"""Records to one columnar document that every view of the board reads. Imports no torch.

Ranks, intervals and tie groups are computed here, once, on the full table; no filter of a view moves them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from dpib.machine import usual_hardware
from dpib.privacy.statement import round_up
from dpib.query import KEYS, row_of
from dpib.records import RunRecord
from dpib.spec import canonical_json
from dpib.standings import CELL, HEADLINE, MIN_SEEDS, standings
from dpib.uncertainty import half_width_of_difference
from dpib_leaderboard.cards import Cards, read_cards
from dpib_leaderboard.entries import Entry, one_line
from dpib_leaderboard.history import stale_reason
from dpib_leaderboard.overall import overall_standings
from dpib_leaderboard.paper import TRACK, paper_rows
from dpib_leaderboard.reviews import LEVELS
from dpib_leaderboard.wins import win_matrices

SCHEMA = 1
REFERENCE = "a reference, never ranked"
GROUP = (*KEYS, "pool")
"""What makes records repetitions of one another; reviewed and unreviewed ones never mix."""

ABOUT = (
    "title",
    "family",
    "noise",
    "pretraining",
    "assurance",
    "relation",
    "accountant",
    "float_safe",
    "hardware",
)
FOR_RANKS = (
    *(*GROUP, "seed", "reference", HEADLINE, "accuracy_stderr"),
    *("spent_epsilon", "minutes", "hardware", "created"),
)
ROW = (
    *("kind", *KEYS, *ABOUT),
    *("mean", "low", "high", "rank_best", "rank_worst", "tie", "ranked", "why", "level", "negatives", "check", "seeds"),
    *("attempts", "spent", "minutes", "memory", "created", "scores", "undefined", "records", "note"),
)
"""Columns of ``rows``; the paper's rows fill some of them."""


def _pretraining(record: RunRecord) -> str:
    share = record.task.spec.public_share
    if record.task.spec.public_dataset is None:
        return "none"
    return "selected" if share is not None and share.startswith("5%") else "all"


def _unranked_reason(entry: Entry, cards: Cards) -> str:
    """Return why a record takes no part in ranks; empty if it does."""
    record, privacy = entry.record, entry.shown.privacy
    ended = [one["words"] for one in _negatives(entry) if one["state"] != "stale"]
    if ended:
        return "; ".join(ended)
    track = cards.tracks.get(record.task.spec.track)
    if entry.level == 0:
        return "self-reported: nobody has recomputed it"
    if record.method.reference:
        return REFERENCE
    if privacy.spent_epsilon is None or privacy.spent_epsilon > record.task.spec.epsilon * (1 + 1e-9):
        return "its ledger spends more than this ε"
    if track is not None and privacy.relation != track["relation"]:
        return f"counts neighbours by {privacy.relation}, not as the track"
    dataset = cards.datasets.get(record.task.spec.dataset)
    if dataset is not None and privacy.delta > dataset["delta"] * (1 + 1e-9):
        return "its δ is larger than the dataset's"
    return ""


def _negatives(entry: Entry) -> list[dict[str, str]]:
    """Return what speaks against a record, each with its state and, in words, date and reason."""
    review = entry.review
    found = [(one.state, f"{one.state} on {one.date[:10]}: {one.reason}") for one in review.negatives] if review else []
    if entry.withdrawn:
        found.append(("withdrawn", f"withdrawn: {entry.withdrawn}"))
    stale = stale_reason(entry.record)
    if stale:
        found.append(("stale", f"stale: {stale}"))
    return [{"state": state, "words": one_line(words, 200)} for state, words in found]


def _checked(entry: Entry) -> dict[str, Any] | None:
    """Return what ``dpib check`` said of a record's code, to the maintainers or else to who ran it; None: not asked."""
    if entry.valid and entry.valid.code_checks:
        latest = max(entry.valid.code_checks, key=lambda one: one.date)
        return {"passed": latest.passed, "words": f"dpib check by the maintainers on {latest.date[:10]}"}
    block = entry.record.check
    if block is None:
        return None
    wrong = [*block.failed, *block.undecided]
    words = f"dpib check, {block.profile}, by who ran it on {block.date[:10]}"
    return {"passed": not wrong, "words": one_line(f"{words}: {', '.join(wrong)}" if wrong else words, 200)}


def _flat(entry: Entry, cards: Cards) -> dict[str, Any]:
    record, privacy = entry.shown, entry.record.privacy
    method = cards.methods.get(record.method.name, {})
    why = _unranked_reason(entry, cards)
    named = {
        f"{score.metric}[{score.protocol}]" if score.protocol else score.metric: score
        for score in record.scores
        if score.classifier is None
    }
    return {
        **row_of(record),
        "account": record.who.account,
        "since": entry.review.since if entry.review else record.created,
        "level": entry.level,
        "negatives": _negatives(entry),
        "check": _checked(entry),
        "why": why,
        "pool": "" if why == REFERENCE else why,
        "title": one_line(record.method.title),
        "family": method.get("family"),
        "noise": method.get("noise_location"),
        "pretraining": _pretraining(record),
        "relation": privacy.relation,
        "accountant": privacy.accountant,
        "float_safe": privacy.float_safe,
        "attempts": entry.valid.attempts if entry.valid else privacy.attempts,
        "hardware": one_line(record.cost.hardware),
        "scores": {name: score.value for name, score in named.items() if score.value is not None},
        "undefined": {name: score.reason for name, score in named.items() if score.reason},
    }


def _standing(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out what was refused or is superseded by a reviewed record; what was withdrawn stays, without scores."""
    replaced = {entry.record.supersedes for entry in entries if entry.level}
    return [e for e in entries if (not e.refused or e.withdrawn) and e.record.id not in replaced]


def _half_width(one: Any, other: Any) -> float:
    sides = (one.stderr, one.freedom), (other.stderr, other.freedom)
    return float(half_width_of_difference(*sides, same=one.source == other.source))


def tie_groups(cell: pd.DataFrame) -> list[int]:
    """Return a group number per ranked row, 0 for others; rows must come best first.

    A group opens with a row that is surely worse than the one the previous group opened with.
    """
    groups, number, leader = [], 0, None
    for row in cell.itertuples():
        if row.ranked and (leader is None or leader.mean - row.mean > _half_width(leader, row)):
            number, leader = number + 1, row
        groups.append(number if row.ranked else 0)
    return groups


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return standings, each pool by itself; only records without a reason against them compete."""
    tables = []
    for pool, part in frame.groupby("pool"):
        table = standings(part[part[HEADLINE].notna()])
        if pool and len(table):
            table = table.assign(ranked=False, rank_best=0, rank_worst=0)
        tables.append(table.assign(pool=pool))
    table = pd.concat([t for t in tables if len(t)] or tables)
    if len(table):
        cells = [cell.assign(tie=tie_groups(cell)) for _, cell in table.groupby([*CELL, "pool"])]
        table = pd.concat(cells)
    return table


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _rounded_up(epsilon: float | None) -> float | None:
    return None if epsilon is None else float(round_up(epsilon))


def _row(part: Sequence[Mapping[str, Any]], rank: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of repetitions of one method in one cell."""
    first = part[0]
    names = dict.fromkeys(name for one in part for name in one["scores"])
    seeds = len({one["seed"] for one in part})
    hardware = usual_hardware(one["hardware"] for one in part)
    return {
        "kind": "reference" if first["reference"] else "run",
        **{name: first[name] for name in (*KEYS, *ABOUT)},
        **{name: rank.get(name) for name in ("mean", "low", "high", "rank_best", "rank_worst", "tie")},
        "ranked": bool(rank.get("ranked", False)),
        "why": first["why"] or ("" if rank.get("ranked") else f"{seeds} of {MIN_SEEDS} seeds"),
        "level": min(one["level"] for one in part),
        "negatives": [*{one["words"]: one for flat in part for one in flat["negatives"]}.values()],
        "check": min((one["check"] for one in part if one["check"]), key=lambda one: one["passed"], default=None),
        "seeds": seeds,
        "attempts": max(one["attempts"] for one in part),
        "spent": _rounded_up(_largest(one["spent_epsilon"] for one in part)),
        "hardware": hardware,
        "minutes": _mean(one["minutes"] for one in part if one["hardware"] == hardware),
        "memory": _largest(one["peak_gib"] for one in part),
        "created": max(one["created"] for one in part),
        "scores": {name: _mean(one["scores"].get(name) for one in part) for name in names},
        "undefined": {name: reason for one in part for name, reason in one["undefined"].items()},
        "records": [one["id"][:16] for one in part],
        "note": "",
    }


def _counted(flats: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one record per seed: of the account whose record was reviewed first, the newest.

    The date of a record is its author's word, that of a review is not.
    """
    seeds: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in sorted(flats, key=lambda one: one["created"]):
        seeds[tuple(one[key] for key in (*GROUP, "seed"))].append(one)
    owners = {seed: min(same, key=lambda one: one["since"])["account"] for seed, same in seeds.items()}
    return [[one for one in same if one["account"] == owners[seed]][-1] for seed, same in seeds.items()]


def _rows(flats: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per method of each cell, its repetitions averaged; a seed counts once."""
    if not flats:
        return []
    counted = _counted(flats)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in sorted(counted, key=lambda one: one["seed"]):
        groups[tuple(one[key] for key in GROUP)].append(one)
    frame = pd.DataFrame([{name: one.get(name) for name in FOR_RANKS} for one in counted])
    ranks = _ranked(frame.assign(**{HEADLINE: pd.to_numeric(frame[HEADLINE])}))
    places = {tuple(row[key] for key in GROUP): row for row in ranks.to_dict("records")}
    return [_row(part, places.get(key, {})) for key, part in groups.items()]


def _at_ranked_budgets(rows: Iterable[dict[str, Any]], cards: Cards) -> list[dict[str, Any]]:
    """Return the rows at the budgets that their track ranks; all of a track that is not installed.

    At any other ε anybody may open a cell, which then has ranks of its own and counts for nothing over the track.
    """
    budgets = {name: card["epsilons"] for name, card in cards.tracks.items()}
    return [row for row in rows if row["epsilon"] in budgets.get(row["track"], [row["epsilon"]])]


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as JSON has it: no NaN, no NumPy, floats with seven digits."""
    text = json.dumps(content, default=lambda value: value.item())
    plain: dict[str, Any] = json.loads(text, parse_float=_seven_digits, parse_constant=_nothing)
    return plain


def _seven_digits(text: str) -> float:
    return float(f"{float(text):.7g}")


def _nothing(_: str) -> None:
    """Stand for NaN and the infinities."""


def columns_of(rows: Iterable[Mapping[str, Any]], names: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Return rows as columns of equal length, ``names`` in any case; what a row lacks is None."""
    rows = list(rows)
    names = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in names}


def _sort_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    kinds = ("run", "reference", "paper")
    mean = row.get("mean")
    worst = row.get("rank_worst") or 10**9
    place = (worst, row.get("rank_best") or 10**9) if row.get("ranked") else (10**9, 10**9)
    headline = mean if mean is not None else row["scores"].get(HEADLINE, row["scores"].get("accuracy[unstated]", -1.0))
    tie = row.get("tie") or 10**6
    return (*(row[name] for name in CELL), kinds.index(row["kind"]), tie, -headline, place, row["method"])


def build_snapshot(entries: Sequence[Entry], source: str, date: str | None = None) -> dict[str, Any]:
    """Return the snapshot of a results store.

    Args:
        entries: of the store.
        source: where it is, as readers of the board see it.
        date: when the store was read, ISO 8601; by default now.

    Returns:
        A JSON object. ``digest`` is over everything but the date: equal content, equal digest.
    """
    cards = read_cards()
    ours = _rows([_flat(entry, cards) for entry in _standing(entries)])
    over_track = _at_ranked_budgets(ours, cards)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "source": source,
        "headline": HEADLINE,
        "min_seeds": MIN_SEEDS,
        "levels": LEVELS,
        "published_track": TRACK,
        "cards": cards.plain(ours),
        "rows": columns_of(sorted([*ours, *paper_rows()], key=_sort_key), ROW),
        "overall": overall_standings(over_track),
        "wins": win_matrices(over_track),
        "records": columns_of(_summary(entry) for entry in entries),
    }
    content = _plain(content)
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    return {"digest": digest, "built": date or datetime.now(UTC).isoformat(timespec="seconds"), **content}


def _summary(entry: Entry) -> dict[str, Any]:
    record = entry.shown
    row = row_of(record)
    names = (*KEYS, "seed", "status", "reference")
    return {
        "id": record.id[:16],
        **{name: row[name] for name in names},
        "level": entry.level,
        "accuracy": row.get(HEADLINE),
        "spent": _rounded_up(record.privacy.spent_epsilon),
        "minutes": row["minutes"],
        "created": record.created,
        "supersedes": record.supersedes and record.supersedes[:16],
        "invalidated": record.invalidated or (entry.review and entry.review.invalidated),
        "refused": entry.refused,
    }
