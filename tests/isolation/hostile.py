"""A small private method that attacks the machine, the ledger or the scorer, as its setting says."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dpib.api import Family, Method, MethodCard, MethodConfig, PrivateDataset, Synthesizer, hookimpl

CARD = MethodCard(
    name="hostile", title="Hostile", summary="For tests.", family=Family.EMBEDDING, noise_location="model"
)


class HostileConfig(MethodConfig):
    attack: str = "none"
    target: str = ""


def succeeds(act: Callable[[], object]) -> bool:
    try:
        act()
    except (OSError, ImportError, subprocess.SubprocessError):
        return False
    return True


def run_folder() -> Path:
    """Where the harness keeps the run: found by looking, as an attacker would."""
    return next(Path(sys.argv[2]).rglob("run.json")).parent


def edit_ledger() -> None:
    path = run_folder() / "ledger.jsonl"
    path.write_text(path.read_text().replace('"noise_multiplier":', '"noise_multiplier":9'))


def break_out(self: Hostile) -> None:
    """Try everything that must fail, and say what did not."""
    from dpib.metrics import accuracy

    target, port = self.config.target.split(":")
    attempts: dict[str, Callable[[], object]] = {
        "connect": lambda: socket.create_connection(("127.0.0.1", int(port)), 2),
        "send": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(port))),
        "resolve": lambda: socket.getaddrinfo("example.org", 80),
        "read": lambda: Path(target).read_text(),
        "overwrite": lambda: Path(target).write_text("x"),
        "scorer": lambda: Path(accuracy.__file__).write_text(""),
        "home": lambda: list(Path("/root").iterdir()) and (Path("/root") / "x").write_text("x"),
        "var": lambda: list(Path(os.sep, "var").iterdir()),
        "host": lambda: Path("/proc/sys/kernel/core_pattern").write_text("x"),
        "leaderboard": lambda: __import__("dpib_leaderboard"),
        "setuid": lambda: os.setuid(0) if os.getuid() else os.setuid(7),
        "kill": lambda: os.kill(os.getppid(), 0) if os.getpid() != 1 else os.kill(2, 0),
    }
    done = [name for name, act in attempts.items() if succeeds(act)]
    done += ["namespace"] if ctypes.CDLL(None).unshare(0x10000000) == 0 else []
    everything = "".join(
        path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/environ") if path.exists()
    )
    done += ["canary"] if "canary" in everything + json.dumps(dict(os.environ)) else []
    print(f"succeeded: {sorted(done)}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def patch_everything() -> None:
    """Bend what a scorer in this process would use."""
    import numpy as np

    import dpib.evaluation
    from dpib.metrics.selection import NoisySelector

    np.mean = lambda *_, **__: np.float64(0.0)
    np.linalg.eigvals = lambda *_, **__: np.zeros(1)
    dpib.evaluation.evaluate = lambda *_, **__: ()
    NoisySelector.open = None  # type: ignore[method-assign,assignment]


class Hostile(Synthesizer):
    Config = HostileConfig
    config: HostileConfig

    def fit(self, private: PrivateDataset) -> None:
        private.noisy_sum(
            lambda images, labels: images.flatten(1).float() / 255,
            label="pixels",
            clipping_norm=1.0,
            noise_multiplier=5.0,
        )
        attack = self.config.attack
        if attack == "patch":
            patch_everything()
            waiting = "import time; time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", waiting, self.config.target], start_new_session=True)
        elif attack == "break out":
            break_out(self)
        elif attack == "leave early":
            os._exit(0)
        elif attack == "edit":
            atexit.register(edit_ledger)

    def generate(self, labels: Tensor) -> Tensor:
        """Depends on the seed alone, so that runs can be compared."""
        generator = self.context.seeds.torch("pixels")
        return torch.randint(0, 256, (len(labels), *self.task.shape), generator=generator).to(torch.uint8)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    return [Method(card=CARD, implementation=f"{__name__}:Hostile")]
