"""One folder of a results store as the board, a submission and a review see it. Imports no torch."""

from __future__ import annotations

import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

from dpib.errors import RecordError
from dpib.records import RunRecord, load_record
from dpib_leaderboard.reviews import Review, load_review


def one_line(text: str, length: int = 80) -> str:
    """Return a submitter's text without control, format or bidirectional characters, normalised and cut."""
    normal = unicodedata.normalize("NFKC", text[: 4 * length])
    visible = "".join("�" if unicodedata.category(sign)[0] == "C" else sign for sign in normal)
    return visible if len(visible) <= length else f"{visible[: length - 1]}…"


@dataclass(frozen=True)
class Entry:
    """A record of a store with its review, if it has one.

    Attributes:
        path: its folder; the last four parts are its place in the store.
    """

    path: Path
    record: RunRecord
    review: Review | None = None

    @property
    def place(self) -> str:
        """``<track>/<dataset>/<method>/<id16>``."""
        return "/".join(self.path.parts[-4:])

    @property
    def valid(self) -> Review | None:
        """The review, if it is of this record, accepted it and still counts."""
        review = self.review
        if review is None or review.record != self.record.id:
            return None
        return review if review.accepted and review.invalidated is None else None

    @property
    def refused(self) -> bool:
        """Whether a reviewer refused the record or took the review back: it is no result at all."""
        return self.review is not None and self.valid is None

    @property
    def level(self) -> int:
        """Trust level, 0 (self-reported) to 4 (reviewed)."""
        return self.valid.trust_level if self.valid else 0

    @property
    def withdrawn(self) -> str | None:
        """Why a record that was accepted once no longer counts, with the date; None if it does or never did."""
        taken_back = self.review.invalidated if self.review and self.review.accepted else None
        return taken_back or self.record.invalidated

    @property
    def shown(self) -> RunRecord:
        """The record with what a board may show: ε and scores of a review that counts; else its own ε and no scores."""
        if self.valid is None:
            return self.record.model_copy(update={"scores": ()})
        spent = {"spent_epsilon": self.valid.spent_epsilon, "second_opinion": self.valid.second_opinion}
        scores = self.valid.scores if self.level else ()
        return self.record.model_copy(
            update={"privacy": self.record.privacy.model_copy(update=spent), "scores": scores}
        )


def read_entry(folder: Path) -> Entry:
    """Return the entry in one folder.

    Raises:
        RecordError: if the record or its review cannot be read.
    """
    return Entry(folder, load_record(folder / "record.json"), load_review(folder))


def read_entries(store: Path) -> list[Entry]:
    """Return every entry of a store's folder, by place; a damaged one warns and is not part of it."""
    found = []
    for path in sorted(store.glob("*/*/*/*/record.json")):
        try:
            found.append(read_entry(path.parent))
        except RecordError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    return found
