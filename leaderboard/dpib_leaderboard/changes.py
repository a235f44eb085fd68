"""What a pull request may change: it adds one new folder of a record, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpib.errors import RecordError
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import printable

_NAME = r"[a-z0-9]+(?:[-_.][a-z0-9]+)*"
PLACE = re.compile(rf"({_NAME}/{_NAME}/{_NAME}/[0-9a-f]{{16}})/([A-Za-z0-9_.-]+)", re.ASCII)
"""A file of a record: its place in the store, and its name."""
_IMAGES_BYTES = 4 << 30

Blobs = Mapping[str, tuple[str, int]]
"""Path -> (git blob id, size) of every file of a revision."""


def added_place(before: Blobs, after: Blobs, store: Blobs) -> tuple[str, list[str]]:
    """Return the place and the file names that a pull request adds.

    Args:
        before: the files of the commit that the pull request is built on.
        after: the files of the pull request.
        store: the files of the store now.

    Raises:
        RecordError: if it changes, removes or adds anything else.
    """
    gone = sorted(set(before) - set(after))
    changed = sorted(path for path in set(before) & set(after) if before[path][0] != after[path][0])
    added = sorted(set(after) - set(before))
    if gone or changed:
        touched = ", ".join(printable(path, 100) for path in [*gone, *changed][:5])
        raise RecordError(f"A submission only adds; this one changes or removes {touched}.")
    matches = [PLACE.fullmatch(path) for path in added]
    for path, match in zip(added, matches, strict=True):
        if match is None or match[2] not in {*limits.FILES, limits.IMAGES}:
            raise RecordError(f"A submission adds one folder of a record; this one adds {printable(repr(path), 150)}.")
    places = {match[1] for match in matches if match}
    if len(places) != 1:
        raise RecordError(f"A submission adds one new folder of a record; this one adds {len(places)}.")
    (place,) = places
    if any(path.startswith(f"{place}/") for path in store):
        raise RecordError(f"{place} exists in the store; records are never changed.")
    names = [match[2] for match in matches if match]
    for path, name in zip(added, names, strict=True):
        if not 0 <= after[path][1] <= limits.FILES.get(name, _IMAGES_BYTES):
            raise RecordError(f"{name} has {after[path][1]} bytes, too many.")
    return place, names
