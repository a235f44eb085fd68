"""The built-in datasets, metrics, runners and tracks, registered through the hooks everybody uses. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpib.hooks import hookimpl

if TYPE_CHECKING:
    from dpib.dataset_spec import DatasetSpec
    from dpib.grids.base import RunnerPlugin
    from dpib.metrics.base import MetricPlugin
    from dpib.spec import Track


class BuiltIn:
    """The plugin that is always there."""

    @hookimpl
    def dpib_datasets(self) -> Sequence[DatasetSpec]:
        """Return the dataset cards of ``dpib.data.catalog``, and those of a person's own folders."""
        from dpib.data.catalog import CARDS
        from dpib.own_cards import own_cards

        return (*CARDS, *own_cards(taken={card.name for card in CARDS}))

    @hookimpl
    def dpib_metrics(self) -> Sequence[MetricPlugin]:
        """Return the metrics of ``dpib.metrics.catalog``."""
        from dpib.metrics.catalog import METRICS

        return METRICS

    @hookimpl
    def dpib_tracks(self) -> Sequence[Track]:
        """Return the tracks of ``dpib.tracks``."""
        from dpib.tracks import TRACKS

        return TRACKS

    @hookimpl
    def dpib_runners(self) -> Sequence[RunnerPlugin]:
        """Return the runners of ``dpib.grids.catalog``."""
        from dpib.grids.catalog import RUNNERS

        return RUNNERS
