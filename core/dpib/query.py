"""Records as a table, one row each. Imports no torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpib.errors import RecordError
from dpib.progress import PRETRAIN_STAGE, WAIT_STAGE
from dpib.records import PROTOCOLS, RunRecord, is_taken_back, load_record
from dpib.spec import SELECTION, RunSpec, canonical_json

KEYS = ("track", "dataset", "epsilon", "method", "variant", "public", "pretrain", "preludes", "overrides", "tuned")
"""What makes two records repetitions of one another: all of these agree, the seeds differ."""

_RECORDS = "*/*/*/*/record.json"
"""Where records lie below a folder of runs or a results store."""
COSTS = ("minutes", "pretrain_minutes", "learn_minutes", "generate_minutes", "peak_gib", "peak_gpu_gib")
_NO_SCORES = (
    *KEYS,
    *("seed", "status", "reference", "accuracy_stderr", "spent_epsilon", "delta", "assurance"),
    *(*COSTS, "hardware", "created", "id", "path", "copy_of_data"),
)


def display_name(method: str, variant: str, public: str, pretrain: str, preludes: str) -> str:
    """Return how a configuration of a method is shown, e.g. ``"dp-gan + select-public +imagenet-32"``."""
    before = f"+ {preludes.replace('+', ' + ')}" if preludes else ""
    parts = [method, variant, before, "" if public == "none" else f"+{public}"]
    return " ".join(filter(None, [*parts, pretrain if pretrain == "unconditional" else ""]))


def name_of(row: Any) -> str:
    """Return the name of a row of records or standings, changed settings included."""
    return f"{display_name(row.method, row.variant, row.public, row.pretrain, row.preludes)} {row.overrides}".strip()


def store_around(folder: Path) -> Path | None:
    """Return the folder of runs, or results store, that somebody meant who named one of its folders or one above it.

    None if records lie where they should below ``folder``, or there are none.
    """
    if any(folder.glob(_RECORDS)):
        return None
    found = next(folder.resolve().rglob("record.json"), None)
    return None if found is None or len(found.parents) < 5 else Path(os.path.relpath(found.parents[4]))


def find_records(folder: Path) -> Iterator[tuple[Path, RunRecord]]:
    """Yield every readable record below a folder of runs or a results store; a damaged one warns and is left out.

    So is, without a word, what is no result any more: a record that was taken back (``is_taken_back``), or that one
    of the others supersedes.
    """
    found = []
    for path in sorted(folder.glob(_RECORDS)):
        try:
            record = load_record(path)
            if not is_taken_back(path.parent, record.id, record.invalidated):
                found.append((path, record))
        except RecordError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    replaced = {record.supersedes for _, record in found}
    yield from (one for one in found if one[1].id not in replaced)


def columns_of(spec: RunSpec) -> dict[str, Any]:
    """Return a spec as columns of a table: what is not given is empty, several preludes are joined by ``+``."""
    return {
        "track": spec.track,
        "dataset": spec.dataset,
        "epsilon": spec.epsilon,
        "method": spec.method,
        "variant": spec.variant or "",
        "public": spec.public,
        "pretrain": spec.pretrain,
        "preludes": "+".join(spec.preludes),
        "overrides": canonical_json(dict(spec.overrides)) if spec.overrides else "",
        "seed": spec.seed,
    }


def row_of(record: RunRecord) -> dict[str, object]:
    """Return the flat row of one record: spec, headline scores in their units, privacy and cost."""
    row: dict[str, object] = {
        **columns_of(record.task.spec),
        "tuned": record.method.tuned,
        "status": record.status,
        "reference": record.method.reference,
    }
    for score in record.scores:
        if score.classifier is None:
            row[f"{score.metric}[{score.protocol}]" if score.protocol else score.metric] = score.value
            if score.protocol == PROTOCOLS[0]:
                row["accuracy_stderr"] = score.stderr
    row |= {
        "spent_epsilon": record.privacy.spent_epsilon,
        "delta": record.privacy.delta,
        "assurance": record.privacy.assurance,
        **_costs(record),
        "hardware": record.cost.hardware,
        "created": record.created,
        "id": record.id,
    }
    return row


def _costs(record: RunRecord) -> dict[str, float]:
    """Return minutes and memory, NaN for that of a GPU that was not used; loading and scoring are in ``minutes`` alone.

    The phases are those of the paper's Table XIX: pretraining (in a run that found it made, nothing), what is learnt
    of private images, and generation. They are told apart by the names of stages. Waiting for a pretraining that
    another run makes is in none of them, and not in ``minutes``.
    """
    seconds = record.cost.seconds
    shared = seconds.get(PRETRAIN_STAGE, 0.0)
    pretrains = sum(took for name, took in seconds.items() if name.startswith("pretrain "))
    selects = any(event.label.startswith(SELECTION) for event in record.privacy.events)
    selector = max(shared, seconds.get("train selector", 0.0))  # shared alone; a run pretrains on what it selected
    pretraining = selector + pretrains if selects else max(shared, pretrains)
    generation = seconds.get("generate", 0.0)
    judges = {f"train {score.classifier}" for score in record.scores}
    others = [took for name, took in seconds.items() if name in judges or name.startswith(("features of ", "load "))]
    total = record.cost.total_seconds - seconds.get(WAIT_STAGE, 0.0)
    phases = (total, pretraining, max(total - pretraining - generation - sum(others), 0.0), generation)
    minutes = (round(took / 60, 3) for took in phases)
    gpu = record.cost.peak_gpu_bytes
    memory = record.cost.peak_memory_bytes, float("nan") if gpu is None else gpu
    return dict(zip(COSTS, (*minutes, *(round(size / 2**30, 2) for size in memory)), strict=True))


def score_columns(frame: pd.DataFrame) -> list[str]:
    """Return which columns of ``results`` hold scores."""
    return [name for name in frame.columns if name not in _NO_SCORES and not name.startswith("paper:")]


def results(
    runs: Path | str = "runs",
    *,
    track: str | None = None,
    dataset: str | None = None,
    method: str | None = None,
    epsilon: float | None = None,
    public: str | None = None,
    variant: str | None = None,
    seed: int | None = None,
) -> pd.DataFrame:
    """Return the records below a folder as a DataFrame, one row each: ``dpib results`` from Python.

    Args:
        runs: folder of run folders, or a results store such as ``submissions``.
        track: keep this track; a family name such as ``"lite"`` keeps all its versions.
        dataset: keep this dataset.
        method: keep this method.
        epsilon: keep this ε.
        public: keep this public data, as written in the spec; ``"none"`` for none.
        variant: keep this variant; ``""`` for none.
        seed: keep this seed.

    Returns:
        Columns: the spec, one per headline score (``"accuracy[noisy-senv]"`` in %), privacy, cost, id and path.
    """
    rows = [{**row_of(record), "path": str(path.parent)} for path, record in find_records(Path(runs))]
    wishes = {"dataset": dataset, "method": method, "epsilon": epsilon, "public": public, "variant": variant}
    return select(pd.DataFrame(rows), track=track, seed=seed, **wishes)


def records_below(folders: Iterable[Path]) -> pd.DataFrame:
    """Return the records below several folders, as ``results`` does for one; each record once."""
    frames = [frame for folder in folders if len(frame := results(folder))]
    return pd.concat(frames, ignore_index=True).drop_duplicates("id") if frames else pd.DataFrame()


def records_of(specs: Iterable[RunSpec], records: pd.DataFrame) -> pd.DataFrame:
    """Return the records of these runs, the newest where a run was recorded twice."""
    if records.empty:
        return records
    found = records.merge(pd.DataFrame([columns_of(spec) for spec in specs]))
    return found.sort_values("created").drop_duplicates([*KEYS, "seed"], keep="last")


def select(frame: pd.DataFrame, *, track: str | None = None, **wishes: object) -> pd.DataFrame:
    """Return the records with these values.

    Args:
        frame: as ``results`` returns it.
        track: a full name, or a family for all its versions.
        wishes: column -> value; None keeps all.
    """
    if frame.empty:
        return frame
    keep = pd.Series(True, index=frame.index)
    if track is not None:
        keep &= (frame["track"] == track) | frame["track"].str.replace(r"-v\d+$", "", regex=True).eq(track)
    for column, wanted in wishes.items():
        if wanted is not None:
            keep &= frame[column] == wanted
    return frame[keep].reset_index(drop=True)
