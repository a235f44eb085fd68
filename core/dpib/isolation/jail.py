"""What a confined process sees, and whether this machine can confine one: found out by trying.

Made of the kernel's namespaces through ``unshare`` of util-linux. Root starts the child as ``nobody``; another account
needs unprivileged user namespaces.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dpib.isolation import confine
from dpib.spec import Frozen

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
_CAPABILITIES_NEEDED = 1 << 21 | 1 << 7 | 1 << 6  # CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID

_PROBE = """
import ctypes, json, os, socket
def fails(act):
    try:
        act()
    except OSError:
        return True
    return False
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "network": fails(lambda: socket.create_connection((ADDRESS, PORT), 1))
        and [name for _, name in socket.if_nameindex()] == ["lo"],
    "files": fails(lambda: open("/usr/x", "w")) and fails(lambda: open(OUTSIDE))
        and not fails(lambda: open("x", "w")),
    "processes": [n for n in os.listdir("/proc") if n.isdigit()] == ["1"],
    "privileges": int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
        and ctypes.CDLL(None).unshare(0x10000000) != 0,
    "account": os.getuid(),
}))
"""


class Protections(Frozen):
    """What was enforced on a process, beyond limits and a listed environment, which are always there.

    Attributes:
        network: ``"cut"``: a namespace without any interface that is up.
        files: ``"confined"``: a root of its own, read-only but for the run folder.
        processes: ``"namespace"``: sees only its own processes, which all end with the first.
        privileges: ``"none"``: no capability, no way to one, no user namespace below; an account called ``nobody``
            where root started it.
        reason: why a protection is missing.
    """

    network: Literal["cut", "open"]
    files: Literal["confined", "open"]
    processes: Literal["namespace", "group"]
    privileges: Literal["none", "none, as nobody", "those of the account"]
    reason: str = ""

    @property
    def confined(self) -> bool:
        """Whether code that is not trusted may run: no network and no file but its own."""
        return self.network == "cut" and self.files == "confined" and self.privileges.startswith("none")


def unprotected(reason: str) -> Protections:
    """Return what a child without a jail has: limits and a listed environment."""
    return Protections(
        network="open", files="open", processes="group", privileges="those of the account", reason=reason
    )


@dataclass(frozen=True)
class Jail:
    """The view of a confined process.

    Attributes:
        base: an empty folder that the new root is mounted on.
        folders: where a folder or file of this machine appears, read-only.
        scratch_bytes: size of the private ``/tmp``, and of the private ``/dev/shm``.
    """

    base: Path
    folders: Mapping[Path, str] = field(default_factory=dict)
    scratch_bytes: int = 256 << 20

    @property
    def privileged(self) -> bool:
        """Whether this process may make namespaces and change accounts without a user namespace."""
        return _has_capabilities()

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that makes the namespaces."""
        user = () if self.privileged else ("--user", "--map-root-user")
        return (_unshare() or "unshare", *user, *_NAMESPACES, "--")

    def order(self, writable: Path) -> dict[str, Any]:
        """Return what ``confine.build_root`` is to do; ``writable`` appears as ``/run-folder``."""
        if self.privileged:
            shutil.chown(writable, confine.NOBODY, confine.NOBODY)
        python = {str(place): str(place) for place in _python_folders()}
        system = {place: place for place in _SYSTEM if Path(place).exists()}
        shown = {**system, **python, **{str(source): place for source, place in self.folders.items()}}
        chosen: list[tuple[str, str]] = []
        for source, place in sorted(shown.items(), key=lambda pair: pair[1]):
            if not any(Path(place).is_relative_to(p) and source == place and s == p for s, p in chosen):
                chosen.append((source, place))
        return {
            "base": str(self.base),
            "folders": chosen,
            "writable": str(writable),
            "scratch_bytes": self.scratch_bytes,
        }


def _python_folders() -> set[Path]:
    """Return where this Python and its packages are."""
    places = {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return {Path(place) for place in places} | {Path(place).resolve() for place in places}


@cache
def _unshare() -> str | None:
    return shutil.which("unshare", path="/usr/bin:/bin:/usr/sbin:/sbin")


@cache
def _has_capabilities() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & _CAPABILITIES_NEEDED == _CAPABILITIES_NEEDED
    return False


@cache
def protections_here() -> Protections:
    """Try a jail on this machine and return what it held, from inside: nothing is assumed from versions or settings."""
    if sys.platform != "linux" or _unshare() is None:
        return unprotected("isolation needs Linux and the command unshare of util-linux")
    from socket import socket

    with tempfile.TemporaryDirectory(prefix="dpib-probe-") as scratch, socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        base, folder, outside = (Path(scratch) / name for name in ("base", "folder", "outside"))
        base.mkdir()
        folder.mkdir()
        outside.write_text("secret")
        jail = Jail(base)
        order = {"root": jail.order(folder), "to_nobody": jail.privileged, "limits": {}}
        address, port = listener.getsockname()
        program = f"ADDRESS, PORT, OUTSIDE = {address!r}, {port}, {str(outside)!r}\n{_PROBE}"
        python = [sys.executable, "-I", "-S"]
        command = [*jail.prefix, *python, confine.__file__, json.dumps(order), *python, "-c", program]
        try:
            done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return unprotected(f"the trial failed: {error}")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return unprotected(f"the kernel does not allow it: {last[:200]}")
    held = json.loads(done.stdout)
    missing = [name for name in ("network", "files", "processes", "privileges") if not held[name]]
    as_nobody = held["account"] == confine.NOBODY
    return Protections(
        network="cut" if held["network"] else "open",
        files="confined" if held["files"] else "open",
        processes="namespace" if held["processes"] else "group",
        privileges=("none, as nobody" if as_nobody else "none") if held["privileges"] else "those of the account",
        reason=f"the trial broke out of: {', '.join(missing)}" if missing else "",
    )
