"""What a second Ray worker is worth: ``python bench/ray_workers.py``. Needs ``pip install -e '.[ray]'``.

Runs one grid twice from nothing, on a local cluster of one worker and on one of two. Its runs wait for most of a minute
and are scored like any other, so the figure is about the runner, not about what runs do to each other's caches. Prints
seconds from the command to its table and the efficiency, T₁ / (2 T₂). Everything else on the machine should be idle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHOD = """
import time

import torch
from dpib.api import Family, Method, MethodCard, MethodConfig, Synthesizer, hookimpl


class Config(MethodConfig):
    seconds: float = {seconds}


class Waiting(Synthesizer):
    Config = Config

    def fit(self, private):
        for _ in self.context.steps("wait", 10, {{}}):
            time.sleep(self.config.seconds / 10)

    def generate(self, labels):
        generator = self.context.seeds.torch("images")
        return torch.randint(0, 256, (len(labels), *self.task.shape), dtype=torch.uint8, generator=generator)


@hookimpl
def dpib_synthesizers():
    card = MethodCard(
        name="waiting", title="Waiting", summary="Waits.", family=Family.EMBEDDING, noise_location="model"
    )
    return [Method(card=card, implementation=f"{{__name__}}:Waiting")]
"""
GRID = """
title = "Waiting"
[base]
track = "demo"
datasets = "digits"
epsilons = 1
seeds = {seeds}
[[runs]]
methods = "waiting"
"""


def seconds_with(workers: int, folder: Path) -> float:
    """Return how long the grid takes on a new local cluster of so many workers."""
    command = [sys.executable, "-m", "dpib", "run", str(folder / "grid.toml"), "--plugin", str(folder / "waiting.py")]
    command += ["--runs", str(folder / f"runs-{workers}"), "--runner", "ray", "--jobs", str(workers)]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=8, help="runs of the grid")
    parser.add_argument("--seconds", type=float, default=50.0, help="how long a run waits")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "waiting.py").write_text(METHOD.format(seconds=arguments.seconds))
        (folder / "grid.toml").write_text(GRID.format(seeds=list(range(arguments.runs))))
        one, two = (seconds_with(workers, folder) for workers in (1, 2))
    print(
        json.dumps({"1 worker, s": round(one, 1), "2 workers, s": round(two, 1), "efficiency": round(one / 2 / two, 3)})
    )


if __name__ == "__main__":
    main()
