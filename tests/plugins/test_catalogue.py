"""Names are looked up in what is built in first, then in plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from shipping import Ship, dataset_source, method_source

from dpib import catalogue
from dpib.errors import UnknownName


def test_built_in_names_are_found_without_loading_plugins(ship: Ship) -> None:
    ship("one", {"bad": "throwaway_bad"}, {"throwaway_bad.py": "1/0"})
    assert catalogue.dataset("digits").name == "digits"
    assert catalogue.metric("accuracy").card.name == "accuracy"
    assert catalogue.track("demo").name == "demo-v1"
    assert "throwaway_bad" not in sys.modules


def test_names_of_plugins_are_found(ship: Ship) -> None:
    ship("one", {"mine": "throwaway_mine"}, {"throwaway_mine.py": dataset_source("my-data")})
    assert catalogue.dataset("my-data").name == "my-data"


def test_a_family_means_its_newest_track_and_a_full_name_itself() -> None:
    assert catalogue.track("lite").name == "lite-v10"
    assert catalogue.track("lite-v1").name == "lite-v1"


@pytest.mark.parametrize(
    ("look_up", "typo", "nearest"),
    [
        (catalogue.dataset, "digts", "digits"),
        (catalogue.track, "lite-v3", "lite-v"),
        (catalogue.metric, "acuracy", "accuracy"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(look_up: Callable[[str], object], typo: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean '{nearest}"):
        look_up(typo)


def test_lists_are_sorted_and_leave_out_what_is_broken(ship: Ship) -> None:
    sources = {f"throwaway_{name}.py": method_source(name) for name in ("b", "a")}
    ship("one", {"b": "throwaway_b", "a": "throwaway_a", "bad": "nowhere"}, sources)
    assert [method.card.name for method in catalogue.methods()] == ["a", "b"]
    assert [card.name for card in catalogue.datasets()] == ["digits", "mnist"]
    assert [track.name for track in catalogue.tracks()] == ["demo-v1", "lite-v1", "lite-v10", "lite-v2"]
    assert [metric.card.name for metric in catalogue.metrics()] == ["accuracy"]
