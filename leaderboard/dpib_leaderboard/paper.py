"""The paper's published numbers as reference rows: shown beside ours, marked, never ranked. Imports no torch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dpib.paper import published

SOURCE = "Gong et al., DPImageBench, CCS 2025"
TRACK = "paper-published"
TABLES = ("VII", "VII*", "VIII", "IX", "XVIII")
"""Tables whose settings are a dataset and an ε; the others compare variants."""

PROTOCOL = (
    "Accuracy is the best of three classifiers (ours is their mean). Noisy SenV from Table VIII; SenV from Table VII, "
    "runs without a sensitive validation split; SynV is derived from Table VII, not printed. Fidelity is from Tables "
    "IX and XVIII. Their generators' ε is theirs."
)


def _read(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / "data" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def paper_methods() -> dict[str, dict[str, str]]:
    """Return name -> title, family, noise location and pretraining, from the paper's Table II."""
    return {row["name"]: row for row in _read("paper_methods.csv")}


def paper_rows() -> list[dict[str, Any]]:
    """Return one row per dataset, ε and method of the paper, with every number it prints for them.

    The ceiling without privacy is printed once per dataset; it becomes a row at every ε.
    """
    methods = paper_methods()
    facts = [fact for fact in published() if fact["table"] in TABLES]
    epsilons = sorted({float(fact["epsilon"]) for fact in facts} - {float("inf")})
    rows: dict[tuple[str, float, str], dict[str, Any]] = {}
    for fact in facts:
        private = fact["epsilon"] != "inf"
        for epsilon in [float(fact["epsilon"])] if private else epsilons:
            key = (fact["dataset"], epsilon, fact["method"])
            about = methods[fact["method"]]
            row = rows.setdefault(
                key,
                {
                    "kind": "paper",
                    "track": TRACK,
                    "dataset": fact["dataset"],
                    "epsilon": epsilon,
                    "method": fact["method"],
                    "title": about["title"],
                    "family": about["family"],
                    "noise": about["noise"] or None,
                    "pretraining": about["pretraining"],
                    "assurance": "published" if private else "non-private",
                    "ranked": False,
                    "note": "",
                    "scores": {},
                },
            )
            row["scores"][fact["metric"]] = float(fact["value"])
            if fact["note"]:
                row["note"] += f"{fact['metric']}: {fact['note']}. "
    return list(rows.values())
