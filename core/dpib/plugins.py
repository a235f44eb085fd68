"""Finds plugins by entry point, one by one, so that a broken one takes down nothing but itself. Imports no torch.

Every distribution may offer entry points of group ``dpib``: one per method or prelude, under its name, its value a
light module (or object) with ``@hookimpl`` functions. What a plugin brings counts all or nothing.

Two plugins that claim one name are both refused. The datasets, metrics and tracks that come with dpib are the rules
of the benchmark: a plugin that reuses one of their names is refused alone.

Environment:
    DPIB_PLUGINS: comma-separated names of distributions or entry points. Plugins from outside dpib are considered
        only if listed; set but empty allows none; unset allows all. Built-in methods are always there.
    DPIB_STRICT_PLUGINS: ``1`` makes listing raise at the first plugin that is broken (for plugin authors' CI).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

from dpib.__about__ import __version__
from dpib.builtin import BuiltIn
from dpib.contribution import (
    UNPACKAGED,
    Contribution,
    InstalledMethod,
    InstalledPrelude,
    Kind,
    collect,
    new_manager,
)
from dpib.errors import PluginError, UnknownName
from dpib.loading import describe_failure, discover, owner_of, resolve
from dpib.progress import RunEvent

__all__ = [
    "GROUP",
    "Contribution",
    "InstalledMethod",
    "InstalledPrelude",
    "PluginRegistry",
    "PluginStatus",
    "discover",
    "load_all",
    "load_file",
    "load_method",
    "load_prelude",
    "observe",
    "registry",
    "resolve",
]

GROUP = "dpib"
_BY_ENTRY: tuple[Kind, ...] = ("method", "prelude")
"""What has an entry point of its own, under its name."""
_BUILT_IN = ""
"""Key of what dpib brings; no entry point can have it."""


@dataclass(frozen=True)
class PluginStatus:
    """One line of ``dpib plugins``.

    Attributes:
        kind: what it is; ``"plugin"`` for what only observes or could not be loaded far enough to tell.
        reason: why it is not ok, in one line.
        details: traceback, for ``--verbose``.
    """

    name: str
    kind: Kind | Literal["plugin"]
    distribution: str
    version: str
    state: Literal["ok", "broken", "conflict"] = "ok"
    reason: str = ""
    details: str = ""


class _Clash(PluginError):
    """Two plugins claim one name."""


class PluginRegistry:
    """What was loaded so far in this process. Entry points are listed at once and imported when asked for."""

    def __init__(self) -> None:
        self._entries = discover(GROUP)
        self._loaded: dict[str, Contribution] = {}
        self._failed: dict[str, PluginStatus] = {}
        self._contested: dict[tuple[Kind, str], str] = {}
        self._observers = new_manager()
        self._loaded[_BUILT_IN] = collect(BuiltIn(), "built-in", "dpib", __version__)

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """What is loaded and stands."""
        return tuple(self._loaded.values())

    @property
    def method_names(self) -> list[str]:
        """Names that ``load_method`` may know, without loading anything."""
        return self._names("method")

    def _names(self, kind: Kind) -> list[str]:
        """Return the names that may be of a kind: those that are, and those of entry points not loaded yet."""
        brought = {name for source in self._loaded.values() for one, name in source.names() if one == kind}
        return sorted(brought | (self._entries.keys() - self._loaded.keys()))

    def load_method(self, name: str) -> InstalledMethod:
        """Return a method, importing at most the one entry point of that name.

        Raises:
            UnknownName: if nobody offers it.
            PluginError: if it is broken, claimed twice, or brings something else than a method.
        """
        if name in self._entries:
            self._load_entry(name)
        for source in self._loaded.values():
            for method in source.methods:
                if method.card.name == name:
                    return InstalledMethod(method, source.distribution, source.version)
        raise self._not_found("method", name)

    def load_prelude(self, name: str) -> InstalledPrelude:
        """Return a prelude, importing at most the one entry point of that name.

        Raises:
            UnknownName: if nobody offers it.
            PluginError: if it is broken, claimed twice, or brings something else than a prelude.
        """
        if name in self._entries:
            self._load_entry(name)
        for source in self._loaded.values():
            for prelude in source.preludes:
                if prelude.card.name == name:
                    return InstalledPrelude(prelude, source.distribution, source.version)
        raise self._not_found("prelude", name)

    def _not_found(self, kind: Kind, name: str) -> PluginError | UnknownName:
        if name in self._entries:
            brings = ", ".join(sorted({other for other, _ in self._loaded[name].names()})) or "nothing of the kind"
            return PluginError(f"Plugin '{name}' of {self._loaded[name].owner} brings no {kind}: {brings}.")
        return UnknownName(kind, name, self._names(kind))

    def load_all(self) -> list[PluginStatus]:
        """Import every entry point, each on its own, and return what became of them.

        Raises:
            PluginError: at the first that is broken, if ``DPIB_STRICT_PLUGINS=1``.
        """
        strict = os.environ.get("DPIB_STRICT_PLUGINS") == "1"
        for name in self._entries:
            try:
                self._load_entry(name)
            except PluginError:
                if strict:
                    raise
        return sorted((*self._standing(), *self._failed.values()), key=lambda one: (one.kind, one.name))

    def load_file(self, path: Path | str) -> Contribution:
        """Load a single-file plugin: a Python file with ``@hookimpl`` functions.

        Its methods name their class as ``f"{__name__}:Class"``. Loading an unchanged file again changes nothing;
        an edited file replaces what it brought.

        Raises:
            PluginError: if the file is missing, does not run, implements no hook, or claims a name that is taken.
        """
        path = Path(path).resolve()
        try:
            source = path.read_bytes()
        except OSError as error:
            raise PluginError(f"Plugin file {path} cannot be read: {error.strerror}.") from error
        module_name = f"dpib_plugin_file_{path.stem}_{hashlib.sha256(source + bytes(path)).hexdigest()[:12]}"
        key = str(path)
        if key in self._loaded and module_name in sys.modules:
            return self._loaded[key]
        spec = importlib.util.spec_from_file_location(module_name, path)
        if path.suffix != ".py" or spec is None or spec.loader is None:
            raise PluginError(f"Plugin file {path} is not a Python file: its name must end in '.py'.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
            contribution = collect(module, key, path.name, UNPACKAGED)
            _check_classes(contribution, path.stem)
            self._admit(key, module, contribution)
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise PluginError(f"Plugin file {path} cannot be loaded: {describe_failure(error)}") from error
        return self._loaded[key]

    def observe(self, event: RunEvent) -> None:
        """Tell every loaded plugin that implements ``dpib_event``; an ``Observer``."""
        self._observers.hook.dpib_event(event=event)

    def _load_entry(self, name: str) -> None:
        if name not in self._loaded and name not in self._failed:
            self._try_entry(name, self._entries[name])
        if name in self._failed:
            failure = self._failed[name]
            raise PluginError(f"Plugin '{name}' of {failure.distribution} {failure.version}: {failure.reason}")

    def _try_entry(self, name: str, entries: Sequence[EntryPoint]) -> None:
        distribution, version = owner_of(entries[0])
        try:
            if len(entries) > 1:
                raise _Clash(_clash("plugin", name, (" ".join(owner_of(entry)) for entry in entries)))
            plugin = entries[0].load()
            contribution = collect(plugin, name, distribution, version)
            for kind, brought in contribution.names():
                if kind in _BY_ENTRY and brought != name:
                    raise PluginError(
                        f"The entry point is named '{name}' but registers the {kind} '{brought}'. "
                        f"Use one entry point per {kind}, named like the {kind}."
                    )
            self._admit(name, plugin, contribution)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
            state: Literal["broken", "conflict"] = "conflict" if isinstance(error, _Clash) else "broken"
            reason, details = describe_failure(error), traceback.format_exc()
            self._failed[name] = PluginStatus(name, "plugin", distribution, version, state, reason, details)

    def _admit(self, key: str, plugin: object, contribution: Contribution) -> None:
        """Add a contribution unless one of its names is taken or contested."""
        for kind, name in contribution.names():
            if kind in _BY_ENTRY and key != name and name in self._entries:
                owners = [" ".join(owner_of(entry)) for entry in self._entries[name]]
                raise _Clash(_clash(kind, name, (*owners, contribution.owner)))
            for other_key, other in list(self._loaded.items()):
                if other_key != key and (kind, name) in other.names():
                    self._contested[kind, name] = _clash(kind, name, (other.owner, contribution.owner))
                    self._withdraw(other_key, self._contested[kind, name])
            if (kind, name) in self._contested:
                raise _Clash(self._contested[kind, name])
        if self._observers.has_plugin(key):
            self._observers.unregister(name=key)
        self._observers.register(plugin, name=key)
        self._loaded[key] = contribution

    def _withdraw(self, key: str, reason: str) -> None:
        """Take back what an entry point brought; what dpib brings stands."""
        if key in self._entries:
            source = self._loaded.pop(key)
            self._observers.unregister(name=key)
            self._failed[key] = PluginStatus(key, "plugin", source.distribution, source.version, "conflict", reason)

    def _standing(self) -> Iterator[PluginStatus]:
        for source in self._loaded.values():
            for kind, name in source.names():
                yield PluginStatus(name, kind, source.distribution, source.version)
            if not any(source.names()):
                yield PluginStatus(source.name, "plugin", source.distribution, source.version)


def _check_classes(contribution: Contribution, stem: str) -> None:
    """Refuse classes that a file names by its own name, under which it cannot be imported."""
    classes = [method.implementation for method in contribution.methods]
    classes += [prelude.implementation for prelude in contribution.preludes]
    classes += [metric.implementation for metric in contribution.metrics]
    for dotted in classes:
        module, _, name = dotted.partition(":")
        if module == stem and importlib.util.find_spec(stem) is None:
            raise PluginError(
                f"No module can be imported as '{stem}'. For a class of this file write "
                f'implementation=f"{{__name__}}:{name}" instead of "{dotted}".'
            )


def _clash(kind: str, name: str, owners: Iterable[str]) -> str:
    return f"The {kind} name '{name}' is claimed by {' and by '.join(owners)}. Remove one, or choose with DPIB_PLUGINS."


@cache
def registry() -> PluginRegistry:
    """Return this process's registry. ``registry.cache_clear()`` forgets it."""
    return PluginRegistry()


def load_method(name: str) -> InstalledMethod:
    """Return a method, importing at most its own entry point. See ``PluginRegistry.load_method``."""
    return registry().load_method(name)


def load_prelude(name: str) -> InstalledPrelude:
    """Return a prelude, importing at most its own entry point. See ``PluginRegistry.load_prelude``."""
    return registry().load_prelude(name)


def load_all() -> list[PluginStatus]:
    """Import every plugin, each on its own. See ``PluginRegistry.load_all``."""
    return registry().load_all()


def load_file(path: Path | str) -> Contribution:
    """Load a single-file plugin. See ``PluginRegistry.load_file``."""
    return registry().load_file(path)


def observe(event: RunEvent) -> None:
    """Tell loaded plugins what happens in a run. See ``PluginRegistry.observe``."""
    registry().observe(event)
