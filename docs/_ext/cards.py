"""Markdown from the cards of methods, preludes, datasets, metrics and tracks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpib import catalogue
from dpib.contribution import InstalledMethod, InstalledPrelude
from dpib.dataset_spec import DatasetSpec
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
    """Return the table of methods, with what reviews say of their records."""
    reviewed = _reviewed()
    titles = ("method", "family", "paper", "published relation", "noise", "public data", "records", "trust")
    installed = (one for one in catalogue.methods() if not one.card.reference)
    return table(titles, (_method_row(one, reviewed[one.card.name]) for one in installed))


def _method_row(one: InstalledMethod, levels: Sequence[int]) -> tuple[object, ...]:
    card = one.card
    relation = card.published_relation.value if card.published_relation else ""
    facts = (card.family.value, card.year or "", relation, card.noise_location or "none", card.public_data)
    return _method_link(one), *facts, len(levels), max(levels, default="")


def method_cards() -> str:
    """Return a section for every method: its paper, and where it departs from it."""
    return "\n\n".join(_method_card(one) for one in catalogue.methods() if not one.card.reference)


def references() -> str:
    """Return the table of references."""
    cards = (one.card for one in catalogue.methods() if one.card.reference)
    rows = ((f"`{card.name}`", card.summary, "yes" if card.private else "no") for card in cards)
    return table(("reference", "what it does", "private"), rows)


def preludes() -> str:
    """Return the table of preludes."""
    return table(("prelude", "anchor", "public data", "what it does"), map(_prelude_row, catalogue.preludes()))


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
    sizes = " / ".join(
        f"{card.split.sizes[side]:,}" for side in ("train", "validation", "test") if side in card.split.sizes
    )
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
    return "\n\n".join(
        f"## {track.name}\n\n{track.title}. {track.summary}\n\n{_track(track)}" for track in catalogue.tracks()
    )


def _track(track: Track) -> str:
    names = lambda values: ", ".join(f"`{value}`" for value in values)  # noqa: E731
    special = (
        f"classifiers on `{dataset}`: {names(one.name for one in classifiers)}"
        for dataset, classifiers in track.classifiers_by_dataset.items()
    )
    facts = [
        f"datasets: {names(track.datasets)}",
        f"public data: {names(track.public_datasets)}" if track.public_datasets else "",
        f"ε on the board: {', '.join(f'{epsilon:g}' for epsilon in track.epsilons)}",
        f"δ = {track.delta_rule}, {track.relation.value}",
        f"images: {track.n_images:,}",
        f"classifiers: {names(one.name for one in track.classifiers)}",
        *special,
        f"metrics: {names(track.metrics)}",
        f"optional metrics: {names(track.optional_metrics)}" if track.optional_metrics else "",
    ]
    return bullets(filter(None, facts))
