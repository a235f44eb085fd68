"""Nothing derived from the images is written anywhere but through the mechanisms: everything written is searched."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from own_folder import CLASSES, write_images
from PIL import Image
from scan import files_below, needles, traces

from dpib.data.pixels import Preprocessing
from dpib.owner.folder import UNFINISHED

pytestmark = pytest.mark.timeout(900)  # new interpreters; slow to start on a busy machine

SIZES = (61, 112, 0)
COUNTS = (61, 112, 173)
HOW = Preprocessing(side=8)
TOY = Path(__file__).parents[1] / "e2e" / "toy.py"

KILLED = """
import os, signal, sys
real, calls = os.fsync, iter(range(10**9))
def fsync(handle):
    real(handle)
    if next(calls) == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
import dpib.context
dpib.context.CHECKPOINT_EVERY_SECONDS = 0.0
from dpib.cli.main import main
main()
"""


@dataclass
class Sandbox:
    """A machine of our own: home, caches, temporary files and working folder lie in one place, the images elsewhere."""

    root: Path
    images: Path
    classes: Path

    def run(self, *arguments: str, kill_at: int | None = None) -> subprocess.CompletedProcess[str]:
        places = {name: str(self.root / name.lower()) for name in ("HOME", "TMPDIR", "HF_HOME", "XDG_CACHE_HOME")}
        for place in places.values():
            Path(place).mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **places,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "KILL_AT": str(kill_at),
        }
        (self.root / "cwd").mkdir(exist_ok=True)
        program = ["-m", "dpib"] if kill_at is None else ["-c", KILLED]
        return subprocess.run(
            [sys.executable, *program, "synthesize", *arguments],
            env=environment,
            cwd=self.root / "cwd",
            capture_output=True,
            text=True,
            check=False,
        )

    def arguments(self, *more: str, method: str = "dp-merf") -> list[str]:
        return [
            *(method, "--images", str(self.images), "--classes", str(self.classes), "--nominal-size", "200"),
            *("--epsilon", "5", "--out", "out", "--track", "demo", "--n-images", "30", *more),
        ]

    def traces(self, *streams: str) -> list[str]:
        written = files_below(self.root) | {f"stream {n}": text.encode() for n, text in enumerate(streams)}
        return traces(written, needles(self.images, CLASSES, HOW), COUNTS)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(CLASSES))
    (tmp_path / "sandbox").mkdir()
    return Sandbox(tmp_path / "sandbox", write_images(tmp_path / "kept-at-home", SIZES), classes)


def test_a_release_leaves_no_trace_of_its_input(sandbox: Sandbox) -> None:
    """Nor does a private report leave more than itself, marked and for the owner's eyes."""
    report = sandbox.root / "cwd" / "report.json"
    extra = ("--images-per-person", "2", "--private-report", report.name)
    done = sandbox.run(*sandbox.arguments("--variant", "tiny", *extra))
    assert done.returncode == 0, done.stderr
    assert "Found 173 images" in done.stderr, "the owner is told, on stderr"
    assert report.read_text().startswith('{\n "warning": "NOT PRIVATE, DO NOT RELEASE')
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    report.unlink()
    assert sandbox.traces(done.stdout) == []
    out = sandbox.root / "cwd" / "out"
    assert {entry.name for entry in out.iterdir()} == {"images", "grid.png", "certificate.json", "statement.md"}
    elsewhere = [name for name in files_below(sandbox.root) if not name.startswith("cwd/out/")]
    assert elsewhere == [], "something was written outside the folder of the release"


def test_parquet_and_json_leave_no_trace(sandbox: Sandbox) -> None:
    done = sandbox.run(*sandbox.arguments("--variant", "tiny", "--json", "--format", "parquet"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "dpib-release-certificate"
    assert sandbox.traces(done.stdout) == []
    assert all(name.startswith("cwd/out/") for name in files_below(sandbox.root))


def test_a_dry_run_writes_nothing(sandbox: Sandbox) -> None:
    done = sandbox.run(*sandbox.arguments("--variant", "tiny", "--json", "--dry-run"))
    assert done.returncode == 0, done.stderr
    assert files_below(sandbox.root) == {}
    assert sandbox.traces(done.stdout) == []


def test_a_killed_release_leaves_no_trace_and_the_same_command_completes_it(sandbox: Sandbox) -> None:
    toy = sandbox.arguments("--plugin", str(TOY), method="toy")
    out = sandbox.root / "cwd" / "out"
    killed = sandbox.run(*toy, kill_at=9)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [entry.name for entry in out.iterdir()] == [UNFINISHED]
    assert stat.S_IMODE((out / UNFINISHED).stat().st_mode) == 0o700
    assert (out / UNFINISHED / "noise.secret").exists() and any((out / UNFINISHED / "state").iterdir())
    assert sandbox.traces(killed.stdout) == [], "not even the private working folder holds a trace in the clear"
    assert all(name.startswith(f"cwd/out/{UNFINISHED}/") for name in files_below(sandbox.root))
    done = sandbox.run(*toy)
    assert done.returncode == 0, done.stderr
    assert not (out / UNFINISHED).exists()
    assert sandbox.traces(done.stdout) == []


def test_a_broken_file_is_named_on_stderr_alone(sandbox: Sandbox) -> None:
    broken = sandbox.images / "malign" / "nowak-anna.png"
    broken.write_bytes(b"\x89PNG broken")
    done = sandbox.run(*sandbox.arguments("--variant", "tiny"))
    assert done.returncode == 3
    assert "nowak-anna.png" in done.stderr and "Traceback" not in done.stderr
    everything = files_below(sandbox.root) | {"stdout": done.stdout.encode()}
    assert traces(everything, {"name": b"nowak-anna"}, COUNTS) == []


def test_the_scan_finds_what_it_looks_for(sandbox: Sandbox) -> None:
    """A control: each kind of trace, planted, is found."""
    first = sandbox.images / "benign" / "kowalczyk-0-0.png"
    pixels = np.asarray(Image.open(first))
    planted = {
        "name.json": b'{"file": "kowalczyk-0-0.png"}',
        "digest.txt": hashlib.sha256(first.read_bytes()).hexdigest().encode(),
        "image.md5": hashlib.md5(pixels.tobytes()).hexdigest().encode(),
        "count.json": b'{"images": 173}',
        "class.md": b"malign: 112.\n",
        "tensor.pt": b"xx" + (pixels.astype("<f4") / np.float32(255)).tobytes(),
    }
    for name, content in planted.items():
        (sandbox.root / name).write_bytes(content)
    Image.fromarray(np.vstack([pixels * 0, pixels])).save(sandbox.root / "grid.png")
    found = sandbox.traces("seen 61 images")
    for name in (*planted, "grid.png", "stream 0"):
        assert any(f" in {name}" in one for one in found), name
