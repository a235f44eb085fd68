"""Makes results stores out of invented records. Their scores mean nothing and are never shown outside tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from dpib.records import RunRecord
from dpib_leaderboard.board import Board
from dpib_leaderboard.build import build
from dpib_leaderboard.store import FolderStore

SHA = "0" * 64
PROTOCOLS = ("noisy-senv", "synv", "senv", "testfix")


def make_record(
    method: str = "dp-merf",
    *,
    dataset: str = "mnist",
    epsilon: float = 1.0,
    seed: int = 0,
    accuracy: float = 80.0,
    track: str = "lite-v1",
    **changes: Any,
) -> RunRecord:
    """Return an invented record.

    ``changes``: title, public, tuned, reference, spent, relation, hardware, statement, by_class, account, created.
    """
    reference = changes.get("reference", False)
    score = {"higher_is_better": True, "n_synthetic": 10_000, "evaluator": "invented", "seed": 0}
    scores: list[dict[str, Any]] = [
        {"metric": "accuracy", "value": accuracy - i, "protocol": protocol, "stderr": 0.3, **score,
         "private_selection": protocol != "senv"}
        for i, protocol in enumerate(PROTOCOLS)
    ]  # fmt: skip
    scores += [
        {"metric": "fd-effnet", "value": 200.0 - accuracy, **score, "higher_is_better": False},
        {"metric": "precision", "value": accuracy / 100, **score},
        {"metric": "recall", "value": None, "reason": "invented gap", **score},
    ]
    scores += [
        {"metric": f"accuracy-class-{label}", "value": value, **score}
        for label, value in enumerate(changes.get("by_class", ()))
    ]
    spent = changes.get("spent", epsilon)
    delta = 1.0 / (55_000 * 10.915088464214607)
    spec = {"method": method, "dataset": dataset, "epsilon": epsilon, "seed": seed, "track": track}
    plain = {
        "id": SHA,
        "created": changes.get("created", f"2026-01-{1 + seed % 28:02d}T00:00:00+00:00"),
        "status": "complete",
        "supersedes": changes.get("supersedes"),
        "who": {"account": changes.get("account")},
        "method": {
            "name": method, "title": changes.get("title", method), "distribution": "invented", "version": "1",
            "api_version": [1, 0], "source_digest": SHA, "config": {}, "layers": ["default"], "changed": [],
            "tuned": changes.get("tuned", False), "reference": reference,
        },
        "task": {
            "spec": {**spec, "public": changes.get("public", "none")}, "shape": [1, 28, 28],
            "classes": [str(i) for i in range(10)], "nominal_size": 55_000, "data_source": "invented",
            "fingerprints": {"train": SHA},
        },
        "privacy": {
            "target_epsilon": epsilon, "spent_epsilon": spent, "spent_by_side": {"train": spent},
            "delta": changes.get("delta", delta), "relation": changes.get("relation", "add-or-remove-one"),
            "unit": "one image", "accountant": "dp-accounting 0.6.0 PLD", "second_opinion": spent,
            "second_accountant": "dp-accounting 0.6.0 RDP", "assurance": changes.get("assurance", "mechanism"),
            "events": [{
                "id": "train-0001", "side": "train", "label": changes.get("event", "noisy sum"),
                "event": {"kind": "sampled-gaussian", "noise_multiplier": 4.0, "sample_rate": 1.0, "steps": 1},
                "sensitivity": 1.0, "norm": "l2", "sampling": "full", "assurance": "mechanism", "steps_executed": 1,
            }],
            "label_shares": "uniform", "noise_source": "invented", "float_safe": False, "tuning": "none",
            "attempts": 3, "ledger_digest": SHA, "statement": changes.get("statement", "An invented statement."),
        },
        "scores": scores,
        "synthetic": {"digest": SHA, "count": 10_000, "per_class": [1_000] * 10},
        "cost": {"device": "cpu", "hardware": changes.get("hardware", "invented, 2 cores"), "seconds": {"fit": 60.0},
                 "total_seconds": 60.0 + seed + accuracy, "peak_memory_bytes": 2**30},
        "environment": {"os": "Linux", "python": "3.11", "packages": {}, "commit": None, "dirty": None,
                        "core_digest": SHA},
    }  # fmt: skip
    draft = RunRecord.from_plain(plain)
    return draft.model_copy(update={"id": draft.content_digest})


def review_of(record: RunRecord, level: int = 1, /, **changes: Any) -> dict[str, Any]:
    """Return an accepting review with the record's own scores as the recomputed ones."""
    scores = [score.model_dump(mode="json") for score in record.scores]
    document = {
        "record": record.id,
        "accepted": True,
        "trust_level": level,
        "attempts": 3,
        "spent_epsilon": record.privacy.spent_epsilon,
        "second_opinion": record.privacy.second_opinion,
        "scores": scores,
        "checks": [],
    }
    return {**document, "invalidated": None, "reviewer": "tests", "reviewed": "2026-01-31", **changes}


def write_store(folder: Path, records: Iterable[tuple[RunRecord, dict[str, Any] | None]]) -> Path:
    """Write records and reviews in the layout of the results store."""
    for record, review in records:
        spec = record.task.spec
        place = folder / spec.track / spec.dataset / spec.method / record.id[:16]
        place.mkdir(parents=True)
        (place / "record.json").write_text(record.to_json())
        (place / "ledger.jsonl").write_text('{"type":"open","side":"train"}\n')
        shade = int(record.id[:2], 16)
        Image.new("L", (56, 56), shade).save(place / "grid.png")
        if review is not None:
            (place / "review.json").write_text(json.dumps(review))
    return folder


def board_of(store: Path) -> Board:
    """Return the board of a store's folder, refreshed."""
    board = Board(lambda: build(FolderStore(store), "tests"), "tests")
    assert board.refresh()
    return board


def repeated(method: str, accuracy: float, **changes: Any) -> list[tuple[RunRecord, dict[str, Any] | None]]:
    """Return three reviewed repetitions of a method, half a point apart."""
    level = changes.pop("level", 1)
    records = [make_record(method, seed=seed, accuracy=accuracy + seed / 2, **changes) for seed in range(3)]
    return [(record, review_of(record, level) if level else None) for record in records]


PAYLOAD = "<img src=x onerror=\"document.title='owned'\">"


def sample_records() -> list[tuple[RunRecord, dict[str, Any] | None]]:
    """Return a small board: three methods, references, an unreviewed one, and one whose texts attack the page."""
    found: list[tuple[RunRecord, dict[str, Any] | None]] = []
    for dataset in ("mnist", "fashion-mnist"):
        for epsilon in (1.0, 10.0):
            cell = {"dataset": dataset, "epsilon": epsilon}
            found += repeated("dp-merf", 80 + epsilon, title="DP-MERF", **cell)
            found += repeated("alpha", 81 + epsilon, title="Alpha", **cell)
            found += repeated("beta", 60 + epsilon, title="Beta", public="omniglot-28", **cell)
            found += repeated("real", 98, title="Real images (not private)", reference=True, spent=None,
                              assurance="non-private", **cell)  # fmt: skip
            found += repeated("uniform", 10, title="Uniform noise", reference=True, assurance="no-access", **cell)
            found += repeated("boaster", 99, title="Boaster", level=0, **cell)
            found += repeated("attack", 40, title=PAYLOAD, hardware="=HYPERLINK(1)", statement=PAYLOAD, event=PAYLOAD,
                              level=2, **cell)  # fmt: skip
    return found


def many_records(count: int) -> list[tuple[RunRecord, dict[str, Any] | None]]:
    """Return ``count`` reviewed records, each a row of its own."""
    cells = [(dataset, epsilon) for dataset in ("mnist", "fashion-mnist") for epsilon in (1.0, 10.0)]
    found: list[tuple[RunRecord, dict[str, Any] | None]] = []
    for i in range(count):
        dataset, epsilon = cells[i % len(cells)]
        name, accuracy = f"method-{i // 4:04d}", 50 + i % 400 / 10
        record = make_record(name, title=f"Method {i // 4}", dataset=dataset, epsilon=epsilon, accuracy=accuracy)
        found.append((record, review_of(record)))
    return found
