"""Scores of a synthetic set: one loop over a track's metrics, used by run, eval and verify alike."""

from __future__ import annotations

from collections.abc import Callable

from dpib import catalogue
from dpib.contribution import resolve
from dpib.errors import MetricError
from dpib.metrics.base import EvalInputs, Metric, MetricPlugin
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


def evaluate(inputs: EvalInputs, cache: ScoreCache | None = None) -> tuple[Score, ...]:
    """Return all scores that the track asks for.

    A metric that cannot be computed here is undefined, with its reason; the others are not affected.

    Args:
        inputs: synthetic and real images, and the rules.
        cache: reads and stores the scores of one metric; what is found defined is not computed again.
    """
    scores: list[Score] = []
    for name in inputs.track.metrics:
        found = cache[0](name) if cache else None
        if found is None or any(score.value is None for score in found):
            found = _compute(catalogue.metric(name), inputs)
            if cache:
                cache[1](name, found)
        else:
            inputs.reporter.skipped(name, "found")
        scores.extend(found)
    return tuple(scores)


def is_complete(scores: tuple[Score, ...]) -> bool:
    """Return whether every score has a value."""
    return bool(scores) and all(score.value is not None for score in scores)
