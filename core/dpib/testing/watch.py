"""Sensors around a run: which records are read and by whom, which files and addresses are opened, what is printed."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from dpib.data.images import LabelledImages

__all__ = ["Read", "Surroundings", "captured_output", "surroundings", "watched"]

_TRANSPARENT = ("torch", "dpib.data.images", __name__, "contextlib")
"""Modules that read on behalf of whoever called them."""
_MECHANISMS = "dpib.privacy."
_TESTS = "dpib.testing"


@dataclass(frozen=True)
class Read:
    """One access to the records.

    Attributes:
        what: ``images``, ``labels``, or their ``number``.
        indices: int64, records that were read; None for all of them.
        reader: module that read.
        place: where, for a person.
        permitted: whether the harness's mechanisms read, or a charge that hands out the records was open.
    """

    what: str
    indices: Tensor | None
    reader: str
    place: str
    permitted: bool


class _Watched(Tensor):
    """A tensor that reports what is done with it; what comes out of it is an ordinary tensor."""

    _report: Callable[[str, Tensor | None], None]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            for one in (inner for arg in args for inner in (arg if isinstance(arg, list | tuple) else (arg,))):
                if isinstance(one, _Watched):
                    if func in _NUMBER:
                        one._report("number", None)
                    elif func not in _PUBLIC:
                        one._report("", _indices(func, args, len(one)))
            return func(*args, **(kwargs or {}))


_NUMBER = {Tensor.shape.__get__, Tensor.size, Tensor.__len__, Tensor.numel, Tensor.nelement}  # type: ignore[attr-defined]
_PUBLIC = {Tensor.dtype.__get__, Tensor.device.__get__, Tensor.ndim.__get__, Tensor.dim}  # type: ignore[attr-defined]


def _indices(func: Any, args: Sequence[Any], n: int) -> Tensor | None:
    if func is not Tensor.__getitem__:
        return None
    key = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
    try:
        return torch.arange(n)[key].reshape(-1)
    except (IndexError, TypeError):
        return None


def _module(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def _reader() -> tuple[FrameType | None, bool]:
    """Return who reads, and whether a mechanism of the harness that was entered by its front door does.

    Other functions of dpib read on nobody's account: given the records, they are the caller's hands.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _module(frame).startswith(_TRANSPARENT):
        frame = frame.f_back
    entry, caller = None, frame
    while caller is not None and _module(caller).startswith(("dpib.", *_TRANSPARENT)):
        entry, caller = (caller if _module(caller).startswith(_MECHANISMS) else entry), caller.f_back
        if _module(caller).startswith(_TESTS):
            return frame, entry is not None
    if entry is None or entry.f_code.co_name.startswith("_"):
        return caller or frame, False
    return frame, True


def watched(data: LabelledImages, log: Callable[[Read], None], handed_out: Callable[[], bool]) -> LabelledImages:
    """Return the same records behind sensors.

    Args:
        data: the records.
        log: gets every read.
        handed_out: tells whether a charge that hands out the records is open; asked when a method reads by itself.
    """

    def sensor(tensor: Tensor, what: str) -> Tensor:
        seen = tensor.clone().as_subclass(_Watched)

        def report(kind: str, indices: Tensor | None) -> None:
            frame, by_mechanism = _reader()
            if _module(frame).startswith(_TESTS):
                return
            place = "" if frame is None else f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
            log(Read(kind or what, indices, _module(frame), place, by_mechanism or handed_out()))

        seen._report = report
        return seen

    return LabelledImages(sensor(data.images, "images"), sensor(data.labels, "labels"))


@dataclass
class Surroundings:
    """What a run opened outside its folder.

    Attributes:
        read: files, without code and what comes with Python and the system.
        written: files.
        contacted: addresses and programs.
    """

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    contacted: set[str] = field(default_factory=set)


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_CODE = {".py", ".pyc", ".so", ".toml", ".pyi", ".pth", ".typed", ".cfg", ".txt", ".tmpl"}
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/")
_CONTACTS = {
    *("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"),
    *("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"),
}
_PLACING = {"os.rename": (0, 1), "os.link": (1,), "os.symlink": (1,)}
"""Events that change names without opening a file, and which of their arguments are these names."""
_METADATA = {".dist-info", ".egg-info"}
_active: list[tuple[frozenset[int], Path, Surroundings]] = []


def _others() -> frozenset[int]:
    """Return the threads there are beside this one: those that draw progress, for example; a method's come later."""
    return frozenset(thread.ident or 0 for thread in threading.enumerate()) - {threading.get_ident()}


def _is_code(path: Path) -> bool:
    return path.suffix in _CODE or path.parent.suffix in _METADATA or path.is_dir()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active:
        return
    others, folder, found = _active[-1]
    if event in _CONTACTS:
        found.contacted.add(f"{event.partition('.')[0]} {args[0] if event != 'socket.connect' else args[1]}")
    elif threading.get_ident() in others:
        return
    elif event in _PLACING:
        found.written |= {path for place in _PLACING[event] if (path := _beyond(folder, args[place])) is not None}
    elif event == "open" and (path := _beyond(folder, args[0])) is not None:
        if isinstance(args[2], int) and args[2] & _WRITING:
            found.written.add(path)
        elif not _is_code(Path(path)):
            found.read.add(path)


def _beyond(folder: Path, place: object) -> str | None:
    """Return a path if it is outside of ``folder`` and not the system's or Python's own."""
    if not isinstance(place, str | bytes | os.PathLike):
        return None
    path = str(Path(os.fsdecode(place)).resolve())
    inside = path.startswith((f"{folder}{os.sep}", *_SYSTEM)) or path == str(folder)
    return None if inside or "__pycache__" in path or path in sys.path else path


@contextmanager
def _telling_torch_save() -> Iterator[None]:
    """Let ``torch.save`` tell which file it opens: its own code does that without Python's knowledge."""
    save = torch.save

    def telling(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(f, str | os.PathLike):
            sys.audit("open", os.fspath(f), "wb", os.O_WRONLY)
        save(obj, f, *args, **kwargs)

    torch.save = telling
    try:
        yield
    finally:
        torch.save = save


_installed = False


@contextmanager
def surroundings(folder: Path) -> Iterator[Surroundings]:
    """Note files and addresses opened outside ``folder`` by this thread and later ones. Python keeps the hook."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    found = Surroundings()
    _active.append((_others(), folder.resolve(), found))
    try:
        with _telling_torch_save():
            yield found
    finally:
        _active.pop()


class _Stream(io.TextIOBase):
    """Keeps what this thread and later ones write; those that draw progress write where they always do."""

    def __init__(self, original: Any, kept: io.StringIO) -> None:
        self._original, self._kept, self._others = original, kept, _others()

    def write(self, text: str) -> int:
        if threading.get_ident() in self._others:
            return int(self._original.write(text))
        return self._kept.write(text)

    def flush(self) -> None:
        self._original.flush()

    def isatty(self) -> bool:
        return bool(self._original.isatty())


@contextmanager
def captured_output() -> Iterator[io.StringIO]:
    """Collect what this thread and later ones print to stdout and stderr, and what is logged at any level."""
    kept = io.StringIO()
    handler = logging.StreamHandler(kept)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root, stdout, stderr = logging.getLogger(), sys.stdout, sys.stderr
    root.addHandler(handler)
    sys.stdout, sys.stderr = _Stream(stdout, kept), _Stream(stderr, kept)
    try:
        yield kept
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        root.removeHandler(handler)
