"""Starts a child process with hard limits and watches it: the one way in which dpib runs what it does not trust.

Enforced by the kernel, per process: address space, CPU time, file size, open files, processes, no core dumps, no new
privileges. Enforced by the watch, every 0.2 seconds, over all processes of the child together: resident memory, in a
jail with open files in memory that have no name, bytes and files on the disk, and the clock. The environment holds what
is listed and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpib.isolation import confine
from dpib.isolation.jail import Jail

PASSED_ON = ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS")
"""Environment variables that every child inherits; the caller adds what its child needs, never a credential."""

_TICK_SECONDS = 0.2
_COMPLAINT_BYTES = 1 << 16
_MOST_FILES = 5_000


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        memory: bytes of address space of each process, and of memory of all together.
        seconds: on the clock; each process may use four times that of CPU time (one per core).
        disk: bytes of each file, and of the writable folder in all.
        processes: processes and threads, in a jail; outside it the kernel would count the whole account's.
        open_files: per process.
        stream: bytes that the child may send through its pipe.
    """

    memory: int = 16 << 30
    seconds: int = 3_600
    disk: int = 8 << 30
    processes: int = 256
    open_files: int = 1_024
    stream: int = 4 << 20

    def for_kernel(self) -> dict[str, int]:
        """Return the limits of each process by the kernel's names."""
        return {
            "AS": self.memory,
            "CPU": 4 * self.seconds,
            "FSIZE": self.disk,
            "NOFILE": self.open_files,
            "CORE": 0,
        }


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code.
        stopped: why it was stopped; None if it ended by itself.
        complaint: the last line it wrote to stderr, printable, at most 300 characters.
        stream: what it sent through the pipe.
    """

    code: int
    stopped: str | None
    complaint: str
    stream: bytes = field(repr=False, default=b"")

    @property
    def failure(self) -> str | None:
        """One line on what went wrong; None if nothing did."""
        if self.stopped:
            return f"was stopped {self.stopped}"
        return f"ended with code {self.code}: {self.complaint}" if self.code else None


def base_environment() -> dict[str, str]:
    """Return the variables that every child inherits."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def run_limited(
    command: Sequence[str],
    limits: Limits,
    *,
    environment: Mapping[str, str],
    folder: Path,
    jail: Jail | None = None,
    stream: str | None = None,
) -> Ended:
    """Run a command and wait for its end, or stop it with all its children.

    Args:
        command: the program's absolute path and its arguments.
        limits: what it may use.
        environment: all variables it gets.
        folder: where it works; inside a jail the only place it can write, seen there as ``/run-folder``.
        jail: what it sees; None: the whole machine, with the rights of this process.
        stream: option that is added with the number of an open pipe, whose content comes back.
    """
    order: dict[str, Any] = {"root": None, "to_nobody": False, "limits": limits.for_kernel()}
    prefix: tuple[str, ...] = ()
    if jail is not None:
        prefix = jail.prefix
        order = {"root": jail.order(folder), "to_nobody": jail.privileged}
        order["limits"] = limits.for_kernel() | {"NPROC": limits.processes}
    reading, writing = os.pipe()
    arguments = [*prefix, sys.executable, "-I", "-S", confine.__file__, json.dumps(order), *command]
    arguments += [stream, str(writing)] if stream else []
    try:
        process = subprocess.Popen(
            arguments,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(writing,) if stream else (),
            start_new_session=True,
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    watch = _Watch(process, limits, folder if jail is not None else None)
    try:
        stopped = watch.follow(reading)
    finally:
        _kill(process)
        os.close(reading)
    return Ended(process.returncode, stopped, watch.complaint, bytes(watch.received))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it left behind: its descendants, in whatever session, and its process group.

    A jail ends with its first process: a descendant that no process group and no parent-death signal is sure to hold.
    """
    if process.poll() is None:  # else its number may be another's by now, and its namespace has ended with it
        os.kill(process.pid, signal.SIGSTOP)  # it starts nothing more, and nobody inside can wake it
        ended = {process.pid}
        while left := family_of(process.pid) - ended:
            for one in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            ended |= left
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


class _Watch:
    """Reads what a child sends and says why it has to be stopped."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, folder: Path | None) -> None:
        self._process, self._limits, self._folder = process, limits, folder
        self.received = bytearray()
        self._stderr = bytearray()

    @property
    def complaint(self) -> str:
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return "".join(c if c.isprintable() else "?" for c in lines[-1] if lines)[:300] if lines else ""

    def follow(self, reading: int) -> str | None:
        """Watch until the child ends; return why it has to be stopped, or None if it ended by itself."""
        assert self._process.stderr is not None
        deadline = time.monotonic() + self._limits.seconds
        due = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ, self._receive)
            selector.register(self._process.stderr.fileno(), selectors.EVENT_READ, self._hear)
            while True:
                ended = self._process.poll() is not None
                events = selector.select(0 if ended or not selector.get_map() else _TICK_SECONDS)
                for key, _ in events:
                    content = os.read(key.fd, 1 << 16)
                    if not content:
                        selector.unregister(key.fd)
                    key.data(content)
                if ended and not any(selector.select(0)):
                    return None
                if not selector.get_map() and not ended:
                    time.sleep(_TICK_SECONDS)
                if time.monotonic() >= due:
                    if reason := self._excess(deadline):
                        return reason
                    due = time.monotonic() + _TICK_SECONDS

    def _receive(self, content: bytes) -> None:
        self.received += content[: self._limits.stream + 1 - len(self.received)]

    def _hear(self, content: bytes) -> None:
        self._stderr = (self._stderr + content)[-_COMPLAINT_BYTES:]

    def _excess(self, deadline: float) -> str | None:
        limits = self._limits
        if time.monotonic() > deadline:
            return f"after {limits.seconds} seconds"
        if len(self.received) > limits.stream:
            return f"for it sent more than {limits.stream} bytes"
        family = family_of(self._process.pid)
        memory, deleted = resident_bytes(family), 0
        if self._folder is not None:
            deleted, elsewhere = deleted_bytes(family, self._folder)
            memory += elsewhere  # a jail can write nowhere else but in memory
        if memory > limits.memory:
            return f"for its processes took more than {limits.memory >> 20} MiB of memory"
        if self._folder is not None:
            size, count = folder_use(self._folder)
            size += deleted
            if size > limits.disk or count > _MOST_FILES:
                return f"for it wrote {size >> 20} MiB in {count} files; {limits.disk >> 20} MiB are allowed"
        return None


def family_of(ancestor: int) -> set[int]:
    """Return a process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family, grown = {ancestor}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family


def _threads_of(process: int) -> list[str]:
    """Return the folders in ``/proc`` of a process's threads: each may have files of its own, and the first may end."""
    with contextlib.suppress(OSError):
        return [f"/proc/{process}/task/{thread}" for thread in os.listdir(f"/proc/{process}/task")]  # noqa: PTH208
    return []


def resident_bytes(family: Iterable[int]) -> int:
    """Return the resident memory of processes; pages that they share count each time."""
    pages = 0
    for one in family:
        seen = [0]
        for thread in _threads_of(one):
            with contextlib.suppress(OSError, IndexError, ValueError):
                seen.append(int(Path(thread, "statm").read_text().split()[1]))
        pages += max(seen)
    return pages * os.sysconf("SC_PAGE_SIZE")


def deleted_bytes(family: Iterable[int], folder: Path) -> tuple[int, int]:
    """Return what deleted files that are still open take on the folder's disk, and what they take elsewhere.

    A file that never had a name, such as one of ``memfd_create``, counts as deleted; all its pages do, mapped or not.
    """
    found: dict[tuple[int, int], int] = {}
    for thread in (thread for one in family for thread in _threads_of(one)):
        with contextlib.suppress(OSError), os.scandir(f"{thread}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    file = entry.stat()
                    if file.st_nlink == 0:
                        found[file.st_dev, file.st_ino] = file.st_blocks * 512
    device = folder.stat().st_dev
    on_disk = sum(size for (where, _), size in found.items() if where == device)
    return on_disk, sum(found.values()) - on_disk


def folder_use(folder: Path) -> tuple[int, int]:
    """Return the bytes that a folder's files take on the disk, and their number; stops counting when there are many."""
    size = count = 0
    pending = [folder]
    while pending and count <= _MOST_FILES:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                count += 1
                if count > _MOST_FILES:
                    break
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
    return size, count
