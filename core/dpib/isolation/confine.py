"""Turns this process into a limited and, if asked, confined one, then becomes the command it was given.

Run as a file, with nothing but the standard library, in fresh namespaces that ``unshare`` made. Confined means: a
root made of the listed folders and nothing else, read-only except one; no capability; no user namespace below.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOBODY = 65534
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_BIND, _REC = 4096, 16384
_DETACH = 2
_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
_CAPBSET_DROP, _NO_NEW_PRIVS = 24, 38
_DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    plain = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _check(_libc.mount(plain[0], plain[1], plain[2], ctypes.c_ulong(flags), plain[3]), f"mount {target}")


def _restrict(target: str, flags: int, recursive: bool = True) -> None:
    """Add flags to a mount, and to all below it; flags that are there already stay."""
    wanted = _Attributes(set=flags)
    arguments = (_AT_FDCWD, target.encode(), _RECURSIVE if recursive else 0, ctypes.byref(wanted), 32)
    _check(_libc.syscall(_MOUNT_SETATTR, *arguments), f"restrict {target}")


def _show(root: str, source: str, target: str, flags: int) -> None:
    place = Path(root + target)
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(source, str(place), None, _BIND | _REC)
    _restrict(str(place), flags)


def build_root(base: str, folders: Sequence[Sequence[str]], writable: str, scratch_bytes: int) -> None:
    """Make a new root below ``base`` and move into it; everything else is out of reach.

    Args:
        base: an empty folder.
        folders: pairs of source and place in the new root, read-only.
        writable: folder that appears as ``/run-folder``.
        scratch_bytes: size of the private ``/tmp``, and of the private ``/dev/shm``; both lie in memory.
    """
    _mount("tmpfs", base, "tmpfs", _NOSUID | _NODEV, "size=4m,mode=755")
    root = base + "/root"
    Path(root).mkdir()
    for place in ("/tmp", "/dev/shm"):
        Path(root + place).mkdir(parents=True)
        _mount("tmpfs", root + place, "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"size={scratch_bytes},mode=1777")
    for source, target in folders:
        if Path(source).is_symlink() and not Path(root + target).exists():
            Path(root + target).symlink_to(Path(source).readlink())
        else:
            _show(root, source, target, _RDONLY | _NOSUID | _NODEV)
    _show(root, writable, "/run-folder", _NOSUID | _NODEV | _NOEXEC)
    for device in _DEVICES:
        _show(root, f"/dev/{device}", f"/dev/{device}", _NOSUID | _NOEXEC)
    Path(root + "/proc").mkdir()
    _mount("proc", root + "/proc", "proc", _RDONLY | _NOSUID | _NODEV | _NOEXEC)
    os.chdir(base)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "leave the old root")
    _restrict("/", _RDONLY, recursive=False)
    os.chroot("/root")  # the kernel makes no user namespace for a process whose root is not its mounts' root
    os.chdir("/run-folder")


def drop_privileges(to_nobody: bool) -> None:
    """Give up every capability for good, and the account where it can be given up."""
    capability = 0
    while _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if to_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def limit(limits: Mapping[str, int]) -> None:
    """Set the hard limits of this process and its children; ``limits`` maps names such as ``AS`` to numbers."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        ceiling = resource.getrlimit(kind)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (value, value))


def main(order: Mapping[str, Any], command: list[str]) -> None:
    """Do what the order says, then execute the command."""
    if order["root"] is not None:
        os.setsid()  # a signal to its own process group must not reach the process outside that holds the namespace
        build_root(**order["root"])
        drop_privileges(order["to_nobody"])
    limit(order["limits"])
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.exit(f"cannot confine this process: {error}")
