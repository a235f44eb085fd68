"""What one plugin brings: its hooks' answers, and who ships it. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import pluggy

from dpib.dataset_spec import DatasetSpec
from dpib.errors import PluginError
from dpib.grids.base import RunnerPlugin
from dpib.hooks import PROJECT, HookSpecs
from dpib.loading import resolve, source_digest
from dpib.metrics.base import MetricPlugin
from dpib.prelude import Prelude, PreludeCard, PreludePlugin
from dpib.spec import MethodCard, Track
from dpib.synthesizer import Method, Synthesizer

Item = TypeVar("Item")
UNPACKAGED = "unpackaged"
Kind = Literal["method", "prelude", "dataset", "metric", "track", "runner"]


def new_manager() -> pluggy.PluginManager:
    """Return an empty pluggy manager that knows dpib's hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    return manager


@dataclass(frozen=True)
class InstalledMethod:
    """A method and who ships it; loading its class is left until it runs."""

    method: Method
    distribution: str
    version: str

    @property
    def card(self) -> MethodCard:
        """What the method says about itself."""
        return self.method.card

    @property
    def source_digest(self) -> str:
        """SHA-256 of the package or file that holds the class (``source_digest``)."""
        return source_digest(self.method.implementation)

    def load(self) -> type[Synthesizer]:
        """Import and return the class.

        Raises:
            PluginError: if it cannot be imported or is not a ``Synthesizer``.
        """
        found = resolve(self.method.implementation)
        if not (isinstance(found, type) and issubclass(found, Synthesizer)):
            raise PluginError(f"'{self.method.implementation}' is not a Synthesizer; got {found!r}.")
        return found


@dataclass(frozen=True)
class InstalledPrelude:
    """A prelude and who ships it; loading its class is left until it runs."""

    prelude: PreludePlugin
    distribution: str
    version: str

    @property
    def card(self) -> PreludeCard:
        """What the prelude says about itself."""
        return self.prelude.card

    @property
    def source_digest(self) -> str:
        """SHA-256 of the package or file that holds the class (``source_digest``)."""
        return source_digest(self.prelude.implementation)

    def load(self) -> type[Prelude]:
        """Import and return the class.

        Raises:
            PluginError: if it cannot be imported or is not a ``Prelude``.
        """
        found = resolve(self.prelude.implementation)
        if not (isinstance(found, type) and issubclass(found, Prelude)):
            raise PluginError(f"'{self.prelude.implementation}' is not a Prelude; got {found!r}.")
        return found


@dataclass(frozen=True)
class Contribution:
    """Everything one plugin registered, all or nothing.

    Attributes:
        name: entry-point name, path of a single-file plugin, or ``"built-in"``.
        distribution: what was installed; the file's name for a single-file plugin.
        version: its version; ``UNPACKAGED`` for a single-file plugin.
    """

    name: str
    distribution: str
    version: str
    methods: tuple[Method, ...] = ()
    preludes: tuple[PreludePlugin, ...] = ()
    datasets: tuple[DatasetSpec, ...] = ()
    metrics: tuple[MetricPlugin, ...] = ()
    tracks: tuple[Track, ...] = ()
    runners: tuple[RunnerPlugin, ...] = ()

    @property
    def owner(self) -> str:
        """Who to name in messages: distribution and version, or the file."""
        return self.name if self.version == UNPACKAGED else f"{self.distribution} {self.version}"

    def names(self) -> Iterator[tuple[Kind, str]]:
        """Yield (kind, name) of everything brought."""
        yield from (("method", method.card.name) for method in self.methods)
        yield from (("prelude", prelude.card.name) for prelude in self.preludes)
        yield from (("dataset", dataset.name) for dataset in self.datasets)
        yield from (("metric", metric.card.name) for metric in self.metrics)
        yield from (("track", track.name) for track in self.tracks)
        yield from (("runner", runner.card.name) for runner in self.runners)


def collect(plugin: object, name: str, distribution: str, version: str) -> Contribution:
    """Ask a plugin's hooks, in a manager of its own, so that a failure half way leaves nothing behind.

    Raises:
        PluginError: if it implements no hook or a hook returns something else than it should.
        pluggy.PluginValidationError: if a hook is misspelt or takes unknown arguments.
    """
    manager = new_manager()
    manager.register(plugin)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise PluginError("It implements no dpib hook. Decorate a function such as dpib_synthesizers with @hookimpl.")

    def ask(hook: str, expected: type[Item]) -> tuple[Item, ...]:
        answers = tuple(item for answer in getattr(manager.hook, hook)() for item in answer)
        for item in answers:
            if not isinstance(item, expected):
                raise PluginError(f"Hook {hook} must return {expected.__name__} objects, got {item!r}.")
        return answers

    contribution = Contribution(
        name,
        distribution,
        version,
        methods=ask("dpib_synthesizers", Method),
        preludes=ask("dpib_preludes", PreludePlugin),
        datasets=ask("dpib_datasets", DatasetSpec),
        metrics=ask("dpib_metrics", MetricPlugin),
        tracks=ask("dpib_tracks", Track),
        runners=ask("dpib_runners", RunnerPlugin),
    )
    for (kind, repeated), times in Counter(contribution.names()).items():
        if times > 1:
            raise PluginError(f"It brings the {kind} '{repeated}' {times} times.")
    return contribution
