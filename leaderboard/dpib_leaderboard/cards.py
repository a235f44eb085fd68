"""The cards that explain a board: tracks, datasets, metrics and methods that are installed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpib import catalogue
from dpib_leaderboard.paper import PROTOCOL, SOURCE, TRACK, paper_methods

Card = dict[str, Any]


@dataclass(frozen=True)
class Cards:
    """Cards by name, as plain JSON values."""

    tracks: dict[str, Card]
    datasets: dict[str, Card]
    metrics: dict[str, Card]
    methods: dict[str, Card]

    def plain(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Card]]:
        """Return all cards; a method that only has rows gets a card with what they say."""
        methods = {name: {**row, "published": True} for name, row in paper_methods().items()}
        for row in rows:
            known = {name: row[name] for name in ("title", "family")}
            methods.setdefault(row["method"], {"name": row["method"], "noise_location": row["noise"], **known})
        published = {"name": TRACK, "title": "Published", "summary": f"{SOURCE}. {PROTOCOL}", "published": True}
        return {
            "tracks": {**self.tracks, TRACK: published},
            "datasets": self.datasets,
            "metrics": self.metrics,
            "methods": methods | self.methods,
        }


def read_cards() -> Cards:
    """Return the cards of everything installed."""
    return Cards(
        tracks={one.name: one.model_dump(mode="json") for one in catalogue.tracks()},
        datasets={one.name: {**one.model_dump(mode="json"), "delta": one.delta} for one in catalogue.datasets()},
        metrics={one.card.name: one.card.model_dump(mode="json") for one in catalogue.metrics()},
        methods={one.card.name: one.card.model_dump(mode="json") for one in catalogue.methods()},
    )
