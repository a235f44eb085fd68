"""Directives that write parts of pages from what is registered and reviewed, at every build: a page cannot be stale.

Each is named after the function whose Markdown it puts into the page, with ``dpib-`` before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

import cards
import interfaces
import scores
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dpib import plugins

WRITERS = (
    *(cards.methods, cards.method_cards, cards.references, cards.preludes),
    *(cards.datasets, cards.metrics, cards.tracks),
    *(interfaces.hooks, interfaces.commands),
    *(scores.method_scores, scores.accuracies, scores.twins, scores.verdicts, scores.selection_gaps),
)


class Registered(SphinxDirective):
    """Puts the Markdown that a function returns where the directive stands.

    It is all text or all sections: MyST moves sections before text of the same directive.
    """

    write: ClassVar[Callable[..., str]]
    optional_arguments = 1  # such as the method that a table is about

    def run(self) -> list[nodes.Node]:
        """Return the parsed Markdown."""
        self.env.note_reread()  # what is written can change without the page
        text = type(self).write(*self.arguments)
        if text.startswith("#"):
            return self.parse_text_to_nodes(text, allow_section_headings=True)
        return [nodes.container("", *self.parse_text_to_nodes(text), classes=[self.name])]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register a directive for every writer; only what comes with dpib is listed."""
    os.environ["DPIB_PLUGINS"] = ""
    plugins.registry.cache_clear()
    for writer in WRITERS:
        name = f"dpib-{writer.__name__.replace('_', '-')}"
        app.add_directive(name, type(name, (Registered,), {"write": staticmethod(writer)}))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
