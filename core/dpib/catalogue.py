"""Looks names up: datasets, tracks, metrics, methods and preludes, built in or from plugins. Imports no torch.

What dpib brings is found without importing any plugin; other names, and whole lists, load all plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from dpib import plugins
from dpib.contribution import Contribution, InstalledMethod, InstalledPrelude
from dpib.dataset_spec import DatasetSpec
from dpib.errors import UnknownName
from dpib.grids.base import RunnerPlugin
from dpib.metrics.base import MetricPlugin
from dpib.spec import Track

Item = TypeVar("Item")
_YOURS = "A method of yours is known once its package is installed (pip install -e FOLDER), or with --plugin FILE.py."


def _loaded(select: Callable[[Contribution], Iterable[Item]]) -> list[Item]:
    return [item for source in plugins.registry().contributions for item in select(source)]


def _find(kind: str, name: str, table: Callable[[], dict[str, Item]]) -> Item:
    known = table()
    if name not in known:
        plugins.load_all()
        known = table()
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]


def dataset(name: str) -> DatasetSpec:
    """Return a dataset's card.

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
    """
    return _find("dataset", name, lambda: {card.name: card for card in _loaded(lambda source: source.datasets)})


def datasets() -> tuple[DatasetSpec, ...]:
    """Return all dataset cards by name."""
    plugins.load_all()
    return tuple(sorted(_loaded(lambda source: source.datasets), key=lambda card: card.name))


def _tracks_and_families() -> dict[str, Track]:
    known = _loaded(lambda source: source.tracks)
    newest = {track.family: track for track in sorted(known, key=lambda track: track.version)}
    return newest | {track.name: track for track in known}


def track(name: str) -> Track:
    """Return a track by its full name (``"lite-v1"``), or the newest of a family (``"lite"``).

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
    """
    return _find("track", name, _tracks_and_families)


def tracks() -> tuple[Track, ...]:
    """Return all tracks by name."""
    plugins.load_all()
    return tuple(sorted(_loaded(lambda source: source.tracks), key=lambda one: one.name))


def metric(name: str) -> MetricPlugin:
    """Return a metric's card and where its class is.

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
    """
    return _find("metric", name, lambda: {one.card.name: one for one in _loaded(lambda source: source.metrics)})


def metrics() -> tuple[MetricPlugin, ...]:
    """Return all metrics by name."""
    plugins.load_all()
    return tuple(sorted(_loaded(lambda source: source.metrics), key=lambda one: one.card.name))


def runner(name: str) -> RunnerPlugin:
    """Return a runner's card and where its class is.

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
    """
    return _find("runner", name, lambda: {one.card.name: one for one in _loaded(lambda source: source.runners)})


def method(name: str) -> InstalledMethod:
    """Return a method, importing at most its own plugin.

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
        PluginError: if its plugin is broken or its name claimed twice.
    """
    try:
        return plugins.load_method(name)
    except UnknownName:
        plugins.load_all()  # only then is it known which entry points are methods
        raise UnknownName("method", name, plugins.registry().method_names, _YOURS) from None


def methods() -> tuple[InstalledMethod, ...]:
    """Return all methods that can be loaded, by name; ``plugins.load_all`` tells about the others."""
    plugins.load_all()
    known = _loaded(lambda source: ((one, source) for one in source.methods))
    found = (InstalledMethod(one, source.distribution, source.version) for one, source in known)
    return tuple(sorted(found, key=lambda one: one.card.name))


def prelude(name: str) -> InstalledPrelude:
    """Return a prelude, importing at most its own plugin.

    Raises:
        UnknownName: if nobody brings it; suggests the nearest.
        PluginError: if its plugin is broken or its name claimed twice.
    """
    try:
        return plugins.load_prelude(name)
    except UnknownName:
        raise UnknownName("prelude", name, (one.card.name for one in preludes())) from None


def preludes() -> tuple[InstalledPrelude, ...]:
    """Return all preludes that can be loaded, by name."""
    plugins.load_all()
    known = _loaded(lambda source: ((one, source) for one in source.preludes))
    found = (InstalledPrelude(one, source.distribution, source.version) for one, source in known)
    return tuple(sorted(found, key=lambda one: one.card.name))
