"""Prepares records for a store: signs, validates as the review will, previews the row, and sends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from dpib.errors import ConfigError, RecordError
from dpib.files import write_text_atomically
from dpib.query import KEYS, row_of
from dpib.records import RunRecord, Who, load_record
from dpib.standings import standings
from dpib_leaderboard import limits
from dpib_leaderboard.entries import Entry
from dpib_leaderboard.review import examine
from dpib_leaderboard.reviews import Check, failed
from dpib_leaderboard.rows import table
from dpib_leaderboard.rules import place_of

PUBLIC = (
    "the record (settings, scores, ledger, cost, hardware, package versions, your account name)",
    "the privacy ledger and the sample grid",
    "all synthetic images, where they are not withheld",
)
"""What becomes public, and stays so: records are superseded or invalidated, never removed."""


@dataclass(frozen=True)
class Prepared:
    """One submission, staged: exactly what will be sent.

    Attributes:
        folder: its files.
        place: where they go in the store.
        checks: of the validator.
    """

    folder: Path
    place: str
    record: RunRecord
    checks: tuple[Check, ...]

    @property
    def accepted(self) -> bool:
        """Whether the validator found nothing to refuse."""
        return not failed(self.checks)

    @property
    def size(self) -> int:
        """Bytes to send."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def signed(record: RunRecord, account: str | None, contact: str | None, supersedes: str | None) -> RunRecord:
    """Return the record with who sends it and which record of the store it succeeds; its id is computed anew.

    What a local record succeeds, an incomplete one of the same folder, was never in a store.
    """
    who = Who(
        account=account,
        organisation=record.who.organisation,
        contact=contact or record.who.contact,
        authors_of_method=record.who.authors_of_method,
    )
    blocks = {name: getattr(record, name) for name in RunRecord.model_fields if name != "id"}
    return RunRecord.build(**{**blocks, "who": who, "supersedes": supersedes})


@contextmanager
def prepared(
    run: Path,
    known: list[Entry],
    *,
    account: str | None = None,
    contact: str | None = None,
    supersedes: str | None = None,
    data_dir: Path | None = None,
) -> Iterator[Prepared]:
    """Stage one run and validate it as the review will, all but the scores.

    Args:
        run: a finished run folder.
        known: the records of the store.
        account: who sends it.
        contact: how to reach them, if they want.
        supersedes: id of the record it replaces, or its first digits.
        data_dir: folder of data mirrors, for the copy test.

    Raises:
        RecordError: if it is no finished run, or supersedes something that is not there.
    """
    record = signed(load_record(run / "record.json"), account, contact, _full_id(supersedes, known))
    with TemporaryDirectory(prefix="dpib-submit-") as scratch:
        place = place_of(record)
        folder = Path(scratch) / place
        folder.mkdir(parents=True)
        write_text_atomically(folder / "record.json", record.to_json())
        for name in ("ledger.jsonl", "grid.png", limits.IMAGES):
            if (run / name).is_file():
                shutil.copyfile(run / name, folder / name)
        inspection, review = examine(folder, known, place=place, scores=False, data_dir=data_dir)
        yield Prepared(folder, place, record, review.checks if review else inspection.checks)


def _full_id(start: str | None, known: list[Entry]) -> str | None:
    if start is None:
        return None
    found = [one.record.id for one in known if one.record.id.startswith(start)]
    if len(found) != 1:
        raise RecordError(
            f"--supersedes {start}: {len(found)} ids of records in the store begin so. Give the id of one, as its "
            "folder is named; dpib submit --status lists them."
        )
    return found[0]


def _repetition(record: RunRecord) -> tuple[object, ...]:
    row = row_of(record)
    return tuple(row[name] for name in (*KEYS, "seed"))


def preview(records: list[RunRecord], known: list[Entry]) -> pd.DataFrame:
    """Return the standings of the cells these records are for, as they would be if the review confirms the scores.

    A record of a seed that another account has sent before changes nothing.
    """
    held = {_repetition(one.record): one.record.who.account for one in known if one.level}
    counted = [one for one in records if held.get(_repetition(one), one.who.account) == one.who.account]
    cells = {(r.task.spec.track, r.task.spec.dataset, r.task.spec.epsilon) for r in records}
    current = table(known)
    if len(current):
        current = current[current["invalidated"].isna() & (current["trust_level"] > 0)]
    frame = pd.concat([current, pd.DataFrame([row_of(record) for record in counted])], ignore_index=True)
    ranked = standings(frame)
    keep = [cell in cells for cell in zip(ranked["track"], ranked["dataset"], ranked["epsilon"], strict=True)]
    return ranked[pd.Series(keep, index=ranked.index, dtype=bool)]


def find_runs(paths: list[Path]) -> list[Path]:
    """Return the finished run folders at or below these paths.

    Raises:
        ConfigError: if a path holds none.
    """
    found: list[Path] = []
    for path in paths:
        here = [path] if (path / "record.json").is_file() else sorted(p.parent for p in path.rglob("record.json"))
        if not here:
            raise ConfigError(f"No finished run at {path}: a run is finished when it has a record.json.")
        found += [run for run in here if run not in found]
    return found
