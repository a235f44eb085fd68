"""The validator of submissions: the same for ``dpib submit`` and for the review. Decodes no image, imports no torch.

What needs the images or the accountants is in ``recompute``, a process of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dpib.errors import DpibError, RecordError
from dpib.records import RunRecord
from dpib.spec import describe_validation_error
from dpib_leaderboard import limits, rules
from dpib_leaderboard.parsing import (
    parse_json,
    printable,
    text_problem,
    texts,
)
from dpib_leaderboard.reviews import Check

_LONG_TEXTS = ("privacy.statement",)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Inspection:
    """What inspection found; ``record`` is None where it could not be read."""

    checks: tuple[Check, ...]
    record: RunRecord | None
    has_images: bool


def inspect(folder: Path, *, place: str | None = None, reviewed: bool = False) -> Inspection:
    """Check everything about a submission that needs neither its images' pixels nor real data.

    Checks run in order and stop at the first that fails, since each relies on those before.

    Args:
        folder: what was submitted.
        place: its path in the store; None: the last four parts of ``folder``.
        reviewed: a ``review.json`` may lie beside it.
    """
    checks: list[Check] = []

    def step(name: str, check: Callable[[], Result], detail: Callable[[Result], str]) -> Result | None:
        try:
            result = check()
        except DpibError as error:
            checks.append(Check(name=name, holds=False, detail=printable(str(error))))
            return None
        checks.append(Check(name=name, holds=True, detail=detail(result)))
        return result

    files = step("files", lambda: read_files(folder, reviewed), lambda found: ", ".join(sorted(found)))
    if files is None:
        return Inspection(tuple(checks), None, False)
    record = step("record", lambda: parse_record(_read(folder, "record.json")), lambda found: f"id {found.id[:16]}")
    has_images = limits.IMAGES in files
    if record is None:
        return Inspection(tuple(checks), None, has_images)
    steps: tuple[tuple[str, Callable[[RunRecord], str]], ...] = (
        ("place", lambda found: rules.check_place(found, place or "/".join(folder.resolve().parts[-4:]))),
        ("names", rules.check_names),
        ("track", rules.check_track),
        ("data", rules.check_data),
        ("scores", rules.check_scores),
        ("dates", rules.check_dates),
        ("ledger", lambda found: rules.check_ledger(found, _read(folder, "ledger.jsonl"))),
        ("grid", lambda found: rules.check_grid(found, _read(folder, "grid.png"))),
        ("images", lambda found: rules.check_images(found, folder / limits.IMAGES if has_images else None)),
    )
    for name, rule in steps:
        if step(name, partial(rule, record), str) is None:
            break
    return Inspection(tuple(checks), record, has_images)


def _read(folder: Path, name: str) -> bytes:
    return read_bounded(folder / name, limits.FILES[name])


def read_files(folder: Path, reviewed: bool = False) -> dict[str, int]:
    """Return the files of a submission with their sizes.

    Raises:
        RecordError: unless it has exactly the files of a submission, all regular, none linked, none too large.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise RecordError("The submission is not a folder.")
    allowed = set(limits.FILES) | {limits.IMAGES} | ({limits.REVIEW} if reviewed else set())
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in allowed:
                raise RecordError(f"Unexpected file {printable(repr(entry.name), 80)}; a submission has {_listed()}.")
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise RecordError(f"{entry.name} is a link, a folder or a device; only plain files are accepted.")
            if status.st_nlink != 1:
                raise RecordError(f"{entry.name} has a second name on the disk (hard link); copy it.")
            if status.st_size > limits.FILES.get(entry.name, 1 << 40):
                raise RecordError(f"{entry.name} has {status.st_size} bytes, at most {limits.FILES[entry.name]}.")
            found[entry.name] = status.st_size
    if missing := set(limits.FILES) - set(found):
        raise RecordError(f"{', '.join(sorted(missing))} is missing; a submission has {_listed()}.")
    return found


def _listed() -> str:
    return f"{', '.join(limits.FILES)} and {limits.IMAGES}"


def read_bounded(path: Path, most: int) -> bytes:
    """Return a file's content without following a link or reading more than ``most`` bytes.

    Raises:
        RecordError: if it cannot be read or is larger.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(content) > most:
        raise RecordError(f"{path.name} has more than {most} bytes.")
    return content


def parse_record(content: bytes) -> RunRecord:
    """Return the record of a document that a stranger wrote.

    Raises:
        RecordError: if it is not JSON, not a record, or its id is not the digest of its content.
    """
    plain = parse_json(content, "record.json")
    if not isinstance(plain, dict):
        raise RecordError("record.json: expected a JSON object.")
    for place, text in texts(plain):
        if problem := text_problem(text, limits.TEXT_LENGTH if place in _LONG_TEXTS else limits.LINE_LENGTH):
            raise RecordError(f"record.json: the text at {printable(place, 80)} {problem}.")
    try:
        record = RunRecord.from_plain(plain)
    except (ValidationError, ValueError) as error:
        text = describe_validation_error(error) if isinstance(error, ValidationError) else str(error)
        raise RecordError(f"record.json: {printable(text)}") from error
    if record.id != record.content_digest:
        raise RecordError("record.json: the id does not match the content; the record was edited.")
    return record
