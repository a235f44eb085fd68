"""``dpib plugins``, ``dpib datasets``, ``dpib metrics``, ``dpib tracks``: what there is. None of them needs torch."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpib import catalogue
from dpib import plugins as registered
from dpib.__about__ import __version__
from dpib.cli.output import note, print_json, print_table
from dpib.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dpib.spec import DatasetSpec

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def plugins(
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of broken plugins.")] = False,
) -> None:
    """List methods, datasets, metrics and tracks with who brings them.

    Broken plugins are listed with the reason. DPIB_PLUGINS=a,b considers only these packages or entry points from
    outside dpib (empty: none); DPIB_STRICT_PLUGINS=1 stops at the first broken one.

        dpib plugins --json
    """
    statuses = registered.load_all()
    if json:
        print_json([asdict(status) for status in statuses])
    else:
        columns = ("kind", "name", "package", "version", "state", "reason")
        rows = ((one.kind, one.name, one.distribution, one.version, one.state, one.reason) for one in statuses)
        print_table(columns, rows)
    broken = [status for status in statuses if status.state != "ok"]
    note(f"Interpreter: {sys.executable} (Python {sys.version.split()[0]}, dpib {__version__})")
    if broken and not verbose:
        note(f"{len(broken)} cannot be used. --verbose shows tracebacks.")
    for status in broken if verbose else ():
        note(f"\n{status.name} of {status.distribution} {status.version}: {status.reason}\n{status.details}")


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show the card of this one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Look whether the images are here, and how large.")] = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of images; else DPIB_DATA.")] = None,
    json: Json = False,
) -> None:
    """List datasets, or show the card of one.

    With --check and a name, exits with 3 if the dataset cannot be loaded from anywhere.

        dpib datasets mnist --check
    """
    if data_dir is not None and not check:
        raise ConfigError("--data-dir is used by --check only.")
    cards = catalogue.datasets() if name is None else (catalogue.dataset(name),)
    found = {card.name: _presence(card, data_dir, named=name is not None) for card in cards} if check else {}
    if json:
        plain = [card.model_dump(mode="json") | found.get(card.name, {}) for card in cards]
        print_json(plain if name is None else plain[0])
    elif check:
        print_table(
            ("name", "here", "MB", "licence", "where"), (_presence_row(card, found[card.name]) for card in cards)
        )
    elif name is None:
        columns = ("name", "role", "shape", "classes", "training images", "licence", "title")
        print_table(columns, (_card_row(card) for card in cards))
    else:
        print_table(("field", "value"), _fields(cards[0]))


def metrics(json: Json = False) -> None:
    """List metrics.

    dpib metrics --json
    """
    cards = [plugin.card for plugin in catalogue.metrics()]
    if json:
        print_json([card.model_dump(mode="json") for card in cards])
    else:
        columns = ("name", "title", "better", "unit", "needs", "summary")
        rows = (
            (card.name, card.title, "higher" if card.higher_is_better else "lower", card.unit, card.needs, card.summary)
            for card in cards
        )
        print_table(columns, rows)


def tracks(json: Json = False) -> None:
    """List tracks, the rules a result belongs to. A family name such as lite means its newest version.

    dpib tracks --json
    """
    known = catalogue.tracks()
    if json:
        print_json([track.model_dump(mode="json") for track in known])
    else:
        columns = ("name", "datasets", "ε", "images", "classifiers", "metrics", "title")
        rows = (
            (
                track.name,
                ", ".join(track.datasets),
                ", ".join(f"{epsilon:g}" for epsilon in track.epsilons),
                track.n_images,
                ", ".join(classifier.name for classifier in track.classifiers),
                ", ".join(track.metrics),
                track.title,
            )
            for track in known
        )
        print_table(columns, rows)


def _card_row(card: DatasetSpec) -> tuple[object, ...]:
    shape = "x".join(map(str, card.shape))
    return card.name, card.role, shape, len(card.classes), card.nominal_size, card.licence, card.title


def _fields(card: DatasetSpec) -> list[tuple[str, object]]:
    plain = card.model_dump(mode="json")
    return [*((key, value) for key, value in plain.items() if value not in (None, "")), ("delta", f"{card.delta:.4g}")]


def _presence(card: DatasetSpec, data_dir: Path | None, named: bool) -> dict[str, Any]:
    """Return whether the images are on this machine; a problem is raised only for a dataset asked for by name."""
    from dpib.data.sources import locate

    try:
        location = locate(card, data_dir)
    except DataError as error:
        if named:
            raise
        return {"present": False, "bytes": None, "place": str(error)}
    return {"present": location.kind != "hub", "bytes": location.n_bytes, "place": location.place}


def _presence_row(card: DatasetSpec, found: dict[str, Any]) -> tuple[object, ...]:
    megabytes = "" if found["bytes"] is None else f"{found['bytes'] / 1e6:.1f}"
    return card.name, "yes" if found["present"] else "no", megabytes, card.licence, found["place"]
