"""Writes a plugin package with a small method that really trains: what ``dpib new`` does."""

from __future__ import annotations

import datetime
import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template

from dpib.__about__ import __version__
from dpib.errors import ConfigError
from dpib.loading import discover
from dpib.plugins import GROUP

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "LICENSE": "LICENSE.tmpl",
    "CITATION.cff": "CITATION.cff.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/ci.yml": "ci.yml.tmpl",
    "src/{package}/__init__.py": "card.py.tmpl",
    "src/{package}/method.py": "method.py.tmpl",
    "src/{package}/presets.toml": "presets.toml.tmpl",
    "tests/test_method.py": "test_method.py.tmpl",
}
"""Path in the package -> template."""


def write_plugin(name: str, parent: Path) -> Path:
    """Write the package ``dpib-plugin-<name>`` and return its folder.

    Args:
        name: of the method: lower-case letters, digits and single hyphens, starting with a letter.
        parent: folder to put it in.

    Raises:
        ConfigError: if the name is not one, makes no class, is taken by an installed plugin, or the folder exists.
    """
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise ConfigError(
            f"Expected a name of at most 40 lower-case letters, digits and single hyphens, such as 'my-method', "
            f"got '{name}'."
        )
    words = _words(name)
    if keyword.iskeyword(words["class_name"]):
        raise ConfigError(
            f"The class of '{name}' would be called {words['class_name']}, a word of Python. Choose another."
        )
    if name in discover(GROUP):
        raise ConfigError(f"An installed plugin already has the name '{name}'. Choose another; see dpib plugins.")
    folder = parent / f"dpib-plugin-{name}"
    if folder.exists():
        raise ConfigError(f"{folder} exists already. Choose another name or another --dir.")
    templates = resources.files("dpib") / "templates"
    for target, template in _FILES.items():
        path = folder / target.format(package=words["package"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((templates / template).read_text("utf-8")).substitute(words), "utf-8")
    return folder


def _words(name: str) -> dict[str, str]:
    """Return what the templates insert."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    upper = f"0.{minor + 1}" if major == 0 else str(major + 1)
    return {
        "name": name,
        "distribution": f"dpib-plugin-{name}",
        "package": f"dpib_plugin_{name.replace('-', '_')}",
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "title": " ".join(part.capitalize() for part in name.split("-")),
        "dpib_range": f"dpib>={__version__},<{upper}",
        "today": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "year": str(datetime.datetime.now(datetime.UTC).year),
    }
