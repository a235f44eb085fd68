"""The pluggy marker and the hooks a plugin may implement. Hooks return values; they do no work. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from dpib.dataset_spec import DatasetSpec
    from dpib.grids.base import RunnerPlugin
    from dpib.metrics.base import MetricPlugin
    from dpib.prelude import PreludePlugin
    from dpib.progress import RunEvent
    from dpib.spec import Track
    from dpib.synthesizer import Method

PROJECT = "dpib"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """Everything a plugin can contribute."""

    @hookspec
    def dpib_synthesizers(self) -> Sequence[Method]:  # type: ignore[empty-body]
        """Return the methods this plugin brings: cards and where their classes are."""

    @hookspec
    def dpib_preludes(self) -> Sequence[PreludePlugin]:  # type: ignore[empty-body]
        """Return preludes: private queries that give any method images to learn from first."""

    @hookspec
    def dpib_datasets(self) -> Sequence[DatasetSpec]:  # type: ignore[empty-body]
        """Return dataset cards."""

    @hookspec
    def dpib_metrics(self) -> Sequence[MetricPlugin]:  # type: ignore[empty-body]
        """Return metrics: names and where their classes are."""

    @hookspec
    def dpib_tracks(self) -> Sequence[Track]:  # type: ignore[empty-body]
        """Return tracks. Official tracks come with dpib; others must not reuse their names."""

    @hookspec
    def dpib_runners(self) -> Sequence[RunnerPlugin]:  # type: ignore[empty-body]
        """Return runners, which do the runs of a grid somewhere: names and where their classes are."""

    @hookspec
    def dpib_event(self, event: RunEvent) -> None:
        """Observe a run: a stage started, advanced or finished. Carries nothing computed from private data."""
