"""Finds and imports what other packages offer, by entry point or dotted path. Imports neither pydantic nor torch."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import re
import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from dpib.errors import PluginError

_SOURCE_SUFFIXES = {".py", ".toml"}


def owner_of(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution that an entry point belongs to."""
    try:
        owner = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
    except (KeyError, TypeError, FileNotFoundError):  # damaged or missing metadata
        owner = ("", "")
    return owner[0] or "unknown", owner[1] or "unknown"


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def discover(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a group by name, as far as ``DPIB_PLUGINS`` allows. Imports none of them."""
    restriction = os.environ.get("DPIB_PLUGINS")
    allowed = {_canonical(name.strip()) for name in (restriction or "").split(",")}
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        distribution = _canonical(owner_of(entry)[0])
        if restriction is None or distribution == "dpib" or {distribution, _canonical(entry.name)} & allowed:
            found.setdefault(entry.name, []).append(entry)
    return dict(sorted(found.items()))


def resolve(dotted: str) -> Any:
    """Import what a dotted path such as ``"package.module:Class"`` names.

    Raises:
        PluginError: if the path is malformed, its module fails to import, or the module has no such name.
    """
    module, colon, attribute = dotted.partition(":")
    if not (module and colon and attribute):
        raise PluginError(f"Expected 'package.module:Name', got '{dotted}'.")
    try:
        return pkgutil.resolve_name(dotted)
    except AttributeError as error:
        raise PluginError(f"'{dotted}' does not exist: {error}.") from error
    except Exception as error:
        raise PluginError(f"'{dotted}' cannot be loaded: {describe_failure(error)}") from error


def describe_failure(error: BaseException) -> str:
    """Return one line on what a plugin's code raised, with the place where the message does not tell it."""
    text = " ".join(str(error).split())
    if isinstance(error, PluginError):
        return text
    if isinstance(error, ImportError | SyntaxError):
        return f"{type(error).__name__}: {text}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({place.filename}, line {place.lineno})"


def module_folder(module: str) -> Path:
    """Return the folder that holds a module's file, without importing the module itself.

    Raises:
        PluginError: if there is no such module.
    """
    spec = _find_spec(module)
    if spec.origin is None:
        raise PluginError(f"Module '{module}' has no file.")
    return Path(spec.origin).parent


def source_digest(dotted: str) -> str:
    """Return the SHA-256 over the sources behind a dotted path, as hex.

    Covers the relative path and bytes of every ``.py`` and ``.toml`` file of the top-level package, in the order
    of their paths; for a module outside a package, that one file.

    Raises:
        PluginError: if there is no such package.
    """
    spec = _find_spec(dotted.partition(":")[0].partition(".")[0])
    if spec.submodule_search_locations is None:
        return files_digest(source_files(Path(spec.origin or "")))
    return files_digest(sorted(pair for root in spec.submodule_search_locations for pair in source_files(Path(root))))


def source_files(place: Path) -> list[tuple[str, Path]]:
    """Return the sources of a package's folder, or of a single file, with their names in it, in their order."""
    if not place.is_dir():
        return [(place.name, place)]
    return sorted(
        (path.relative_to(place).as_posix(), path)
        for path in place.rglob("*")
        if path.suffix in _SOURCE_SUFFIXES and path.is_file()
    )


def files_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 over names and bytes of files, as hex."""
    digest = hashlib.sha256()
    for name, path in files:
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _find_spec(module: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise PluginError(f"Module '{module}' cannot be found: {error}") from error
    if spec is None:
        raise PluginError(f"Module '{module}' cannot be found. Install what provides it.")
    return spec
