"""What a run ran on and what it cost. Imports no torch at import time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dpib.contribution import source_digest
from dpib.errors import ConfigError, DeviceError
from dpib.files import write_text_atomically
from dpib.progress import RunEvent
from dpib.records import CostBlock, EnvironmentBlock

_PACKAGES = (
    "dpib",
    "torch",
    "torchvision",
    "opacus",
    "dp-accounting",
    "datasets",
    "numpy",
    "pillow",
    "pandas",
    "scikit-learn",
)
_SAVE_EVERY_SECONDS = 5.0


def check_device(wanted: str) -> None:
    """Refuse what is no name of a device on any machine.

    Raises:
        ConfigError: if it is neither ``"auto"`` nor the name of a torch device.
    """
    import torch

    try:
        torch.device("cpu" if wanted == "auto" else wanted)
    except RuntimeError as error:
        raise ConfigError(f"Expected --device auto, cpu or cuda, got '{wanted}'.") from error


def choose_device(wanted: str = "auto") -> str:
    """Return ``"cuda"`` where there is one, else ``"cpu"``, or the device that is asked for by name.

    Raises:
        ConfigError: if it is no name of a device.
        DeviceError: if there is no such device here.
    """
    import torch

    check_device(wanted)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"No device '{wanted}' here: PyTorch sees {torch.cuda.device_count()} GPUs. Use --device cpu, or install "
            "the CUDA build of PyTorch and a driver."
        )
    return wanted


def hardware_name(device: str) -> str:
    """Return the GPU's name, or the processor's with its vector instructions and the number of cores.

    A cloud gives processors of several generations one name: ``AMD EPYC, AVX2, 2 cores``.
    """
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {len(os.sched_getaffinity(0))} cores"


def usual_hardware(names: Iterable[str]) -> str:
    """Return the hardware that most records name, of several the first by name: times elsewhere are other times."""
    counts = Counter(names)
    return min(counts, key=lambda name: (-counts[name], name))


@cache
def core_digest() -> str:
    """Return the SHA-256 over the sources of dpib itself, as they were at the first call: what is loaded stays."""
    return source_digest("dpib")


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> EnvironmentBlock:
    """Describe operating system, packages and source state."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    changes = _git("status", "--porcelain", "--untracked-files=no") if tracked else None
    return EnvironmentBlock(
        os=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=packages,
        commit=_git("rev-parse", "HEAD") if tracked else None,
        dirty=None if changes is None else bool(changes),
        core_digest=core_digest(),
    )


def _peak_memory() -> int:
    """Return this process's peak resident memory in bytes since ``CostClock`` began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak_memory() -> None:
    """Restart the peak, so that earlier runs of this process do not count, nor what they freed and the heap kept."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a libc without it
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # a system without it
        Path("/proc/self/clear_refs").write_text("5")


def _peak_gpu_memory() -> int:
    """Return the largest memory in bytes that tensors had on one GPU since ``CostClock`` began; 0 if none was used."""
    import torch

    if not torch.cuda.is_initialized():
        return 0
    return max(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))


def _forget_peak_gpu_memory() -> None:
    import torch

    if torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


class CostClock:
    """Observer that adds up seconds per stage and peak memory over all sessions of a run, kept in ``cost.json``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stored: dict[str, Any] = (
            json.loads(path.read_text()) if path.exists() else {"seconds": {}, "total": 0.0, "peak": 0, "gpu": 0}
        )
        self._before: dict[str, float] = stored["seconds"]
        self._peak: int = stored["peak"]
        self._gpu: int = stored["gpu"]
        self._total_before: float = stored["total"]
        self._began = time.monotonic()
        self._now: dict[str, float] = {}
        self._saved = 0.0
        _forget_peak_memory()
        _forget_peak_gpu_memory()

    def __call__(self, event: RunEvent) -> None:
        """Take note of how long a stage has run."""
        if event.kind in ("advanced", "finished"):
            self._now[event.stage] = event.seconds
            if event.kind == "finished":  # a stage of the same name may follow
                self._before = self.seconds
                del self._now[event.stage]
            if event.kind == "finished" or time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
                self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        self._peak = max(self._peak, _peak_memory())
        self._gpu = max(self._gpu, _peak_gpu_memory())
        state = {"seconds": self.seconds, "total": self._total, "peak": self._peak, "gpu": self._gpu}
        write_text_atomically(self._path, json.dumps(state))

    @property
    def _total(self) -> float:
        return round(self._total_before + time.monotonic() - self._began, 3)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per stage, earlier sessions included."""
        names = [*self._before, *(name for name in self._now if name not in self._before)]
        return {name: round(self._before.get(name, 0.0) + self._now.get(name, 0.0), 3) for name in names}

    def block(self, device: str) -> CostBlock:
        """Return the record's cost block."""
        self._save()
        return CostBlock(
            device=device,
            hardware=hardware_name(device),
            seconds=self.seconds,
            total_seconds=self._total,
            peak_memory_bytes=self._peak,
            peak_gpu_bytes=self._gpu if device.startswith("cuda") else None,
        )
