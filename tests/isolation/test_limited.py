"""What a limited child may not do, tried with plain programs: the kernel and the watch do not care who they stop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpib.isolation import jail as jails
from dpib.isolation.jail import Jail, Protections, protections_here
from dpib.isolation.limited import Ended, Limits, base_environment, resident_bytes, run_limited

SMALL = Limits(memory=512 << 20, seconds=20, disk=8 << 20, processes=20, open_files=64, stream=10_000)
CONFINED = protections_here().confined
needs_jail = pytest.mark.skipif(not CONFINED, reason=f"cannot confine here: {protections_here().reason}")


def run(tmp_path: Path, program: str, limits: Limits = SMALL, confined: bool = CONFINED) -> Ended:
    base, folder = tmp_path / "base", tmp_path / "folder"
    base.mkdir()
    folder.mkdir()
    jail = Jail(base, scratch_bytes=4 << 20) if confined else None
    command = [sys.executable, "-I", "-S", "-c", program]
    return run_limited(
        command, limits, environment=base_environment(), folder=folder, jail=jail, stream="fd" if confined else None
    )


def test_a_child_that_behaves_ends_by_itself(tmp_path: Path) -> None:
    program = "import os, sys; open('x', 'w').write('y'); os.write(int(sys.argv[2]), b'said')"
    ended = run(tmp_path, program if CONFINED else "open('x', 'w').write('y')")
    assert ended.failure is None
    assert (tmp_path / "folder" / "x").read_text() == "y"
    assert ended.stream == (b"said" if CONFINED else b"")


def test_only_listed_variables_are_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setenv("ANYTHING", "canary")
    ended = run(tmp_path, "import os, sys; sys.exit(repr(sorted(os.environ)))")
    assert "TOKEN" not in ended.complaint and "ANYTHING" not in ended.complaint and "PATH" in ended.complaint


def test_memory_is_limited_for_one_process(tmp_path: Path) -> None:
    before = resident_bytes([os.getpid()])
    ended = run(tmp_path, "x = bytearray(4 << 30)")
    assert "MemoryError" in (ended.failure or "")
    assert resident_bytes([os.getpid()]) - before < 64 << 20


def test_memory_is_limited_for_all_processes_together(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(b'x') * (150 << 20); time.sleep(60)\n"
        "time.sleep(60)"
    )
    assert "for its processes took more than 512 MiB" in (run(tmp_path, program).stopped or "")


@needs_jail
@pytest.mark.parametrize("where", ["unmapped", "files of a thread", "first thread ended"])
def test_memory_is_found_wherever_it_is_held(where: str, tmp_path: Path) -> None:
    fill = "f = os.memfd_create('x')\nfor _ in range(450): os.write(f, bytes(1 << 20))\ntime.sleep(60)"
    program = {
        "unmapped": f"import os, time\n{fill}",
        "files of a thread": (
            "import ctypes, os, threading, time\n"
            "def hold():\n"
            "    assert ctypes.CDLL(None).unshare(0x400) == 0\n"  # CLONE_FILES
            f"    exec({fill!r}, globals())\n"
            "threading.Thread(target=hold).start()"
        ),
        "first thread ended": (
            "import ctypes, os, threading, time\n"
            "def hold():\n"
            "    time.sleep(0.5); x = bytearray(b'x') * (150 << 20); time.sleep(60)\n"
            "for _ in range(3):\n"
            "    if os.fork() == 0:\n"
            "        threading.Thread(target=hold).start(); ctypes.CDLL(None).pthread_exit(None)\n"
            "time.sleep(60)"
        ),
    }[where]
    limits = Limits(memory=400 << 20, seconds=20, disk=1 << 30)
    assert "for its processes took more than 400 MiB" in (run(tmp_path, program, limits).stopped or "")


def test_time_is_limited_and_nobody_stays_behind(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    program = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(600)', MARK]\n"
        f"subprocess.Popen(command, start_new_session={CONFINED})\n"
        "time.sleep(600)"
    ).replace("MARK", repr(mark))
    ended = run(tmp_path, program, Limits(seconds=2))
    assert ended.failure == "was stopped after 2 seconds"
    assert _has_ended(mark)


@needs_jail
def test_the_first_process_of_a_jail_cannot_leave(tmp_path: Path) -> None:
    """Neither a session of its own nor a cleared parent-death signal keeps it alive."""
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    program = (
        f"import contextlib, ctypes, os, time  # {mark}\n"
        "with contextlib.suppress(PermissionError): os.setsid()\n"
        "ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\n"
        "time.sleep(600)"
    )
    assert run(tmp_path, program, Limits(seconds=2)).failure == "was stopped after 2 seconds"
    assert _has_ended(mark)


@needs_jail
def test_a_jail_cannot_signal_the_process_that_holds_it(tmp_path: Path) -> None:
    """It would die and leave the first process to nobody; an ordinary account may signal it."""
    assert run(tmp_path, "import os, sys; sys.exit(f'{os.getpid()} {os.getpgrp()}')").complaint == "1 1"


def _has_ended(mark: str) -> bool:
    deadline = time.monotonic() + 5
    while _is_running(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _is_running(mark)


def _is_running(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_one_file_is_limited(tmp_path: Path) -> None:
    ended = run(tmp_path, "f = open('x', 'wb')\nfor _ in range(100): f.write(bytes(1 << 20))")
    assert ended.failure
    assert (tmp_path / "folder" / "x").stat().st_size <= SMALL.disk


@needs_jail
@pytest.mark.parametrize("what", ["large", "many", "deleted"])
def test_the_folder_is_limited(what: str, tmp_path: Path) -> None:
    program = {
        "large": "import time\nfor n in range(40): open(str(n), 'wb').write(b'x' * (1 << 20))\ntime.sleep(30)",
        "many": "import time\nfor n in range(5_100): open(str(n), 'w')\ntime.sleep(30)",
        "deleted": (
            "import os, time\nkept = []\nfor n in range(40):\n"
            "    f = open(str(n), 'wb'); f.write(b'x' * (1 << 20)); f.flush(); os.unlink(str(n)); kept.append(f)\n"
            "time.sleep(30)"
        ),
    }[what]
    assert "for it wrote" in (run(tmp_path, program).stopped or "")


@needs_jail
def test_a_fork_bomb_is_limited(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nmade = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(60)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    sys.exit(f'made {made}')"
    )
    ended = run(tmp_path, program)
    assert ended.complaint.startswith("made ") and int(ended.complaint.split()[1]) <= SMALL.processes


@needs_jail
def test_a_stream_is_limited(tmp_path: Path) -> None:
    ended = run(tmp_path, "import os, sys, time\nos.write(int(sys.argv[2]), bytes(20_000)); time.sleep(30)")
    assert ended.stopped == "for it sent more than 10000 bytes"
    assert len(ended.stream) <= SMALL.stream + 1


@needs_jail
def test_the_private_tmp_is_limited_and_goes(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "import sys\ntry: open('/tmp/x', 'wb').write(bytes(8 << 20))\nexcept OSError: sys.exit('full')"
    )
    assert ended.complaint == "full"
    assert not Path("/tmp/x").exists()


def test_what_a_child_says_is_printable(tmp_path: Path) -> None:
    ended = run(tmp_path, r"import sys; sys.exit('\x1b[2Jevil\u202e' + 'x' * 1000)")
    assert ended.complaint.startswith("?[2Jevil?") and len(ended.complaint) == 300


def test_this_machine_is_described_by_trying() -> None:
    here = protections_here()
    assert here.confined == (here.reason == "")
    assert here.confined or here.network == "open" or here.files == "open"


def test_a_machine_without_unshare_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jails, "_unshare", lambda: None)
    found = protections_here.__wrapped__()
    assert not found.confined and "unshare" in found.reason


def test_a_machine_that_forbids_namespaces_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jails, "_unshare", lambda: "/bin/false")
    found = protections_here.__wrapped__()
    assert not found.confined and "the kernel does not allow it" in found.reason


@needs_jail
def test_an_ordinary_account_is_confined_too(tmp_path: Path) -> None:
    """Root tests both ways: as itself, and as an account that has to make a user namespace."""
    python = Path("/usr/bin/python3.11")
    if os.getuid() != 0 or not python.exists() or sys.version_info[:2] != (3, 11):
        pytest.skip("needs root and a Python that another account may run")
    program = "from dpib.isolation.jail import protections_here; print(protections_here().model_dump_json())"
    places = [str(Path(jails.__file__).parents[2]), *(place for place in sys.path if place.endswith("site-packages"))]
    command = [
        "setpriv",
        "--reuid=1234",
        "--regid=1234",
        "--clear-groups",
        "--inh-caps=-all",
        str(python),
        "-c",
        program,
    ]
    environment = {"PYTHONPATH": ":".join(places), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "does not allow" in done.stdout:
        pytest.skip("an ordinary account may not make user namespaces here, or not read this checkout")
    found = Protections.model_validate_json(done.stdout)
    assert found.confined and found.privileges == "none"
