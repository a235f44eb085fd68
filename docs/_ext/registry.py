"""Directives that write parts of pages from what is registered, at every build: a page cannot be stale.

``dpib-methods``, ``dpib-datasets``, ``dpib-metrics``, ``dpib-tracks``, ``dpib-hooks`` and ``dpib-commands`` each become
Markdown that is made of cards, hook specifications or the options of the command line.
"""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dpib import catalogue, plugins
from dpib.cli.commands import LazyCommand
from dpib.cli.main import app as dpib_app
from dpib.contribution import InstalledMethod, InstalledPrelude
from dpib.dataset_spec import DatasetSpec
from dpib.hooks import PROJECT, HookSpecs
from dpib.spec import Track

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; cells are one line each, and what would end a cell is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def bullets(items: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {item}" for item in items)


def methods() -> str:
    """Return the table of methods, the references, the preludes, and what the cards say about each method."""
    installed = catalogue.methods()
    reviewed = _reviewed()
    titles = ("method", "family", "paper", "published relation", "noise", "public data", "records", "trust")
    rows = (
        (
            _method_link(one),
            one.card.family.value,
            one.card.year or "",
            one.card.published_relation.value if one.card.published_relation else "",
            one.card.noise_location or "none",
            one.card.public_data,
            len(levels),
            max(levels, default=""),
        )
        for one in installed
        for levels in [reviewed[one.card.name]]
        if not one.card.reference
    )
    references = (
        (f"`{one.card.name}`", one.card.summary, "yes" if one.card.private else "no")
        for one in installed
        if one.card.reference
    )
    return "\n\n".join(
        [
            table(titles, rows),
            '"Published relation" is that of the original paper; every method here runs under add-or-remove-one. '
            '"Records" counts reviewed records; "trust" is their highest [level](../reading-the-board.md#trust-levels).',
            "## References",
            "Shown on every board, never ranked.",
            table(("reference", "what it does", "private"), references),
            "## Preludes",
            "What they are: [preludes](../preludes.md).",
            table(("prelude", "anchor", "public data", "what it does"), map(_prelude_row, catalogue.preludes())),
            "## Cards",
            *(_method_card(one) for one in installed if not one.card.reference),
        ]
    )


def _reviewed() -> dict[str, list[int]]:
    """Return the trust levels of the accepted records in ``submissions/``, by method."""
    levels: dict[str, list[int]] = defaultdict(list)
    for path in sorted(ROOT.glob("submissions/*/*/*/*/review.json")):
        review = json.loads(path.read_text("utf-8"))
        if review["accepted"] and not review["invalidated"]:
            levels[path.parents[1].name].append(review["trust_level"])
    return levels


def _method_link(one: InstalledMethod) -> str:
    name = one.card.name
    return f"[{name}](../methods/{name}.md)" if (DOCS / "methods" / f"{name}.md").exists() else f"`{name}`"


def _method_card(one: InstalledMethod) -> str:
    card = one.card
    paper = f"Paper: {card.paper}" + (f" [Code]({card.homepage})." if card.homepage else "")
    departures = f"Departs from paper and published code:\n\n{bullets(card.deviations)}" if card.deviations else ""
    own = f"Makes the query of {', '.join(f'`{name}`' for name in card.preludes)} itself." if card.preludes else ""
    parts = (f"### {card.title}", f"{_method_link(one)}. {card.summary}", paper if card.paper else "", own, departures)
    return "\n\n".join(filter(None, parts))


def _prelude_row(one: InstalledPrelude) -> tuple[str, ...]:
    card = one.card
    return f"`{card.name}`", card.anchor, card.public_data, card.summary


def datasets() -> str:
    """Return a table each of sensitive and public datasets, and the remarks on their cards."""
    cards = catalogue.datasets()
    titles = ("dataset", "shape", "classes", "train / validation / test", "δ", "licence", "seen here")
    rows = {role: [_dataset_row(card) for card in cards if card.role == role] for role in ("sensitive", "public")}
    return "\n\n".join(
        [
            "## Sensitive",
            table(titles, rows["sensitive"]),
            "## Public",
            table(titles, rows["public"]),
            '"Seen here": the images were loaded by the project, and their fingerprints are on the card.',
            "## Cards",
            *(_dataset_card(card) for card in cards),
        ]
    )


def _dataset_row(card: DatasetSpec) -> tuple[object, ...]:
    sizes = " / ".join(f"{card.split.sizes[side]:,}" for side in ("train", "validation", "test") if side in card.split.sizes)
    shape = "×".join(map(str, card.shape))
    seen = "yes" if card.verified else "no"
    return f"`{card.name}`", shape, len(card.classes), sizes, f"{card.delta:.3g}", card.licence, seen


def _dataset_card(card: DatasetSpec) -> str:
    facts = {
        "classes": ", ".join(card.classes) if len(card.classes) <= 20 else f"{len(card.classes)}",
        "privacy unit": card.privacy_unit,
        "steps at load": ", ".join(card.steps),
        "done before": card.preprocessing if card.preprocessing != "none" else "",
        "terms": "must be accepted on its page" if card.gated else "",
        "page": f"<{card.homepage}>",
        "citation": card.citation,
        "remarks": card.notes,
    }
    return f"### {card.name}\n\n{card.title}.\n\n" + bullets(f"{key}: {value}" for key, value in facts.items() if value)


def metrics() -> str:
    """Return the table of metrics."""
    cards = [plugin.card for plugin in catalogue.metrics()]
    titles = ("metric", "title", "better", "unit", "what it is", "needs", "source")
    rows = (
        (
            f"`{card.name}`",
            card.title,
            "higher" if card.higher_is_better else "lower",
            card.unit,
            card.summary,
            card.needs,
            card.source,
        )
        for card in cards
    )
    return table(titles, rows)


def tracks() -> str:
    """Return a section for every track."""
    return "\n\n".join(f"## {track.name}\n\n{track.title}. {track.summary}\n\n{_track(track)}" for track in catalogue.tracks())


def _track(track: Track) -> str:
    names = lambda values: ", ".join(f"`{value}`" for value in values)  # noqa: E731
    special = (
        f"classifiers on `{dataset}`: {names(one.name for one in classifiers)}"
        for dataset, classifiers in track.classifiers_by_dataset.items()
    )
    facts = [
        f"datasets: {names(track.datasets)}",
        f"public data: {names(track.public_datasets)}" if track.public_datasets else "",
        f"ε on the board: {', '.join(f'{epsilon:g}' for epsilon in track.epsilons)}; δ = {track.delta_rule}; {track.relation.value}",
        f"images: {track.n_images:,}",
        f"classifiers: {names(one.name for one in track.classifiers)}",
        *special,
        f"metrics: {names(track.metrics)}",
        f"optional metrics: {names(track.optional_metrics)}" if track.optional_metrics else "",
    ]
    return bullets(filter(None, facts))


def hooks() -> str:
    """Return a section for every hook specification."""
    specs = [one for one in vars(HookSpecs).values() if hasattr(one, f"{PROJECT}_spec")]
    return "\n\n".join(
        f"## {one.__name__}\n\n```python\n{one.__name__}({_parameters(one)}) -> {inspect.signature(one).return_annotation}"
        f"\n```\n\n{inspect.getdoc(one)}"
        for one in specs
    )


def _parameters(function: Callable[..., object]) -> str:
    """Return the parameters that an implementation takes, with their types."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return ", ".join(f"{one.name}: {one.annotation}" for one in found)


def commands() -> str:
    """Return a section for every command and its options."""
    return "\n\n".join(_command(name, command) for name, command in _all_commands())


def _all_commands() -> Iterator[tuple[str, Any]]:
    group = typer.main.get_command(dpib_app)
    context = group.make_context("dpib", [], resilient_parsing=True)
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        lazy = group.get_command(context, name)  # type: ignore[attr-defined]
        assert isinstance(lazy, LazyCommand)
        yield name, lazy.load()
        for word, child in lazy.children.items():
            yield f"{name} {word}", child.load()


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = " ".join(one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments)
    usage = f"```text\ndpib {name} [OPTIONS] {words}".rstrip() + "\n```"
    rows = [(f"`{one.name.upper()}`", getattr(one, "help", "") or "", "") for one in arguments]
    rows += [(_spelling(one), one.help or "", _default(one)) for one in options]
    return f"## dpib {name}\n\n{usage}\n\n{command.help}\n\n{table(('option', 'what it does', 'default'), rows) if rows else ''}"


def _spelling(option: Any) -> str:
    return ", ".join(f"`{one}`" for one in [*option.opts, *option.secondary_opts])


def _default(option: Any) -> str:
    given = option.default
    return "" if given in (None, False, "", []) or callable(given) else f"`{'yes' if given is True else given}`"


class Registered(SphinxDirective):
    """Puts the Markdown that a function returns where the directive stands."""

    write: ClassVar[Callable[[], str]]

    def run(self) -> list[nodes.Node]:
        """Return the parsed Markdown. What stands before the first heading is parsed apart: MyST would drop it."""
        before, heading, sections = f"\n\n{type(self).write()}".partition("\n\n## ")
        texts = [before.strip(), f"{heading}{sections}".strip()]
        return [node for text in texts if text for node in self.parse_text_to_nodes(text, allow_section_headings=True)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register a directive for every function; only what comes with dpib is listed."""
    import os

    os.environ["DPIB_PLUGINS"] = ""
    plugins.registry.cache_clear()
    for function in (methods, datasets, metrics, tracks, hooks, commands):
        name = f"dpib-{function.__name__}"
        app.add_directive(name, type(name, (Registered,), {"write": staticmethod(function)}))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
