"""Locks between those who share a folder."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from dpib.errors import StorageError
from dpib.files import exclusive, is_held, taking_turns


def test_of_two_who_take_turns_the_second_waits_and_finds_the_work_done(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        waits.set()
        yield
        order.append("waited")

    def second() -> None:
        with taking_turns(tmp_path, waiting):
            order.append("second")

    with taking_turns(tmp_path, pytest.fail):  # the first has nobody to wait for
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "waited", "second"]


def test_a_folder_is_held_while_somebody_works_in_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "nowhere") and not is_held(tmp_path)
    with exclusive(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


@pytest.mark.parametrize("hold", [exclusive, partial(taking_turns, waiting=nullcontext)])
def test_a_lock_that_was_deleted_holds_nothing(
    hold: Callable[[Path], AbstractContextManager[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the file and locking it, its holder ended and deleted the folder."""

    def lock(file: IO[str], operation: int) -> None:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        flock(file, operation)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(StorageError, match="deleted"), hold(tmp_path / "work"):
        pass
