"""A record as a board sees it: with what its review allows to be shown. Imports no torch."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dpib.records import RunRecord, Score

LEVELS = ("self-reported", "recomputed", "reproduced", "audited", "reviewed")
SCORES: TypeAdapter[tuple[Score, ...]] = TypeAdapter(tuple[Score, ...])


def one_line(text: str, length: int = 80) -> str:
    """Return a submitter's text without control, format or bidirectional characters, normalised and cut."""
    normal = unicodedata.normalize("NFKC", text[: 4 * length])
    visible = "".join("�" if unicodedata.category(sign)[0] == "C" else sign for sign in normal)
    return visible if len(visible) <= length else f"{visible[: length - 1]}…"


@dataclass(frozen=True)
class Entry:
    """One folder of a results store.

    Attributes:
        path: the folder.
        record: its record.
        review: what the reviewer wrote, None before review.
    """

    path: Path
    record: RunRecord
    review: Mapping[str, Any] | None = None

    @property
    def valid(self) -> Mapping[str, Any] | None:
        """The review, if it is of this record, accepted it and still counts."""
        review = self.review or {}
        stands = review.get("accepted") is True and review.get("invalidated") is None
        return review if stands and review.get("record") == self.record.id else None

    @property
    def refused(self) -> bool:
        """Whether a reviewer refused the record or took the review back: it is no result at all."""
        return self.review is not None and self.valid is None

    @property
    def level(self) -> int:
        """Trust level, 0 (self-reported) to 4 (reviewed)."""
        level = (self.valid or {}).get("trust_level", 0)
        return level if isinstance(level, int) and 0 < level < len(LEVELS) else 0

    @cached_property
    def shown(self) -> RunRecord:
        """The record with the scores a board may show: those recomputed in review, else none."""
        plain = (self.valid or {}).get("scores") if self.level else None
        try:
            scores = SCORES.validate_json(json.dumps(plain or []))
        except (ValidationError, TypeError, ValueError):
            scores = ()
        return self.record.model_copy(update={"scores": scores})


Reader = Callable[[], Sequence[Entry]]
"""Lists a results store: called once per build."""
