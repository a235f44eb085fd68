"""``dpib plugins``, ``dpib datasets``, ``dpib metrics``, ``dpib tracks``: what there is. None of them needs torch."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dpib import catalogue
from dpib import plugins as registered
from dpib.__about__ import __version__
from dpib.cli.output import note, print_json, print_table

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
