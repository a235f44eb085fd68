"""Files that are whole or absent. Imports no torch."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from dpib.errors import FolderInUse

DEFAULT_RUNS = Path("runs")
"""Where commands keep run folders unless they are told otherwise."""
SUBMISSIONS = Path(__file__).parents[2] / "submissions"
"""The results store of a checkout, wherever a command is called; absent from an installed wheel."""

_PARTIAL = ".partial"
_LOCK = ".lock"


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old content or the new, never half.

    Args:
        path: target; its folder is made.
        write: gets the open temporary file.
        mode: permission bits of the result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()), mode)


def is_held(folder: Path) -> bool:
    """Return whether a process holds a folder with ``exclusive`` at this moment."""
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def taking_turns(folder: Path, waiting: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Hold a folder for this process; wait while another one holds it. The lock goes with the process.

    Args:
        folder: made if it is not there.
        waiting: its context is held while there is somebody to wait for; not called if there is nobody.

    Raises:
        FolderInUse: if another process deleted it just now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting():
                fcntl.flock(lock, fcntl.LOCK_EX)
        _refuse_deleted(folder, lock)
        yield


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for this process and clear what a killed one left half-written.

    The lock goes with the process, however it ends.

    Raises:
        FolderInUse: if another process holds it, or deleted it just now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(f"Another process is working in {folder}. Wait for it or stop it.") from error
        _refuse_deleted(folder, lock)
        for leftover in folder.rglob(f".*{_PARTIAL}"):
            leftover.unlink()
        yield


def _refuse_deleted(folder: Path, lock: IO[str]) -> None:
    if not os.fstat(lock.fileno()).st_nlink:  # a lock on a deleted file keeps nobody off
        raise FolderInUse(f"Another process deleted {folder} just now. Give the same command again.")
