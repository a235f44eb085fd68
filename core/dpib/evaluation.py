"""Scores of a synthetic set: one loop over a track's metrics, used by run, eval and verify alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpib import catalogue
from dpib.contribution import resolve
from dpib.errors import MetricError, UnknownName
from dpib.metrics.base import NO_SELECTION, EvalInputs, Metric, MetricPlugin
from dpib.records import Score

ScoreCache = tuple[Callable[[str], tuple[Score, ...] | None], Callable[[str, tuple[Score, ...]], None]]


def _compute(plugin: MetricPlugin, inputs: EvalInputs) -> tuple[Score, ...]:
    metric: Metric = resolve(plugin.implementation)()
    try:
        return metric.compute(inputs)
    except MetricError as error:
        inputs.reporter.note(f"{plugin.card.name}: {error}")
        undefined = Score(
            metric=plugin.card.name, value=None, reason=str(error), higher_is_better=plugin.card.higher_is_better
        )
        return (undefined,)


def evaluate(
    inputs: EvalInputs, cache: ScoreCache | None = None, only: Sequence[str] | None = None
) -> tuple[Score, ...]:
    """Return all scores that the track asks for, and those it welcomes.

    A metric that cannot be computed here is undefined, with its reason; the others are not affected. One that the
    track does not demand is left out instead.

    Args:
        inputs: synthetic and real images, and the rules.
        cache: reads and stores the scores of one metric; what is found defined is not computed again.
        only: names of the metrics to compute instead of the track's.

    Raises:
        UnknownName: if no metric has a demanded name; nothing was computed.
    """
    wanted = inputs.track.metrics if only is None else only
    plugins = [catalogue.metric(name) for name in wanted]
    scores: list[Score] = []
    for plugin in plugins:
        scores.extend(_found_or_computed(plugin, inputs, cache))
    if only is None:
        for name in inputs.track.optional_metrics:
            try:
                found = _found_or_computed(catalogue.metric(name), inputs, cache)
            except UnknownName:
                inputs.reporter.skipped(name, "not installed")
            else:
                scores.extend(score for score in found if score.value is not None)
    return tuple(scores)


def _found_or_computed(plugin: MetricPlugin, inputs: EvalInputs, cache: ScoreCache | None) -> tuple[Score, ...]:
    name = plugin.card.name
    found = cache[0](name) if cache else None
    if found is not None and is_settled(found, inputs.selector is not None):
        inputs.reporter.skipped(name, "found")
        return found
    computed = _compute(plugin, inputs)
    if cache:
        cache[1](name, computed)
    return computed


def is_settled(scores: Sequence[Score], selects: bool) -> bool:
    """Return whether nothing is left to compute: every score has a value, or lacks only a choice nobody asked for."""
    return all(score.value is not None or (score.reason == NO_SELECTION and not selects) for score in scores)


def is_complete(scores: tuple[Score, ...]) -> bool:
    """Return whether every score has a value."""
    return bool(scores) and all(score.value is not None for score in scores)
