"""What a private step costs beside the same step without privacy: ``python -m bench.dpsgd [--json]``.

Time: one thread, process CPU time (on a GPU: synchronised wall time). All variants of a case live in one process and
take turns in shuffled order; the table has the median over rounds of the ratio to ``plain`` in the same round, and
the range. Memory: peak of a step above what was there before, each variant in a process of its own.

Run from the repository's root, e.g. ``python -m bench.dpsgd --case unet-1.49M --rounds 3 --variant dpib``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench.dpsgd.cases import Case, cases
from bench.dpsgd.variants import GPU_VARIANTS, VARIANTS, Step

from dpib.privacy.engine.hooks import Engine
from dpib.privacy.noise import NoiseSource


def median_norm(case: Case, device: str) -> float:
    """Return a clipping norm that half of the images exceed."""
    net, batch = case.network(device), case.batch(device, min(case.images, 4))
    engine = Engine(net, case.copies)
    with engine.attached():
        engine.differentiate(lambda: case.losses(net, *batch), len(batch[0]) // case.copies)
        norms = torch.stack([g.flatten(1).double().square().sum(1) for g in engine.gradients()]).sum(0).sqrt()
    return float(norms.median())


def seconds(step: Step, device: str) -> float:
    """Return the time of one step."""
    if device == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def peak(make_step: Callable[[], Step], device: str) -> int:
    """Return the bytes that a step takes at most, network, batch and running sum included."""
    before = _status("VmRSS") if device == "cpu" else torch.cuda.memory_allocated()
    step = make_step()
    if device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # what the tuning gave back is not the step's
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident size so far
        step()
        return _status("VmHWM") - before
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


def make(case: Case, variant: str, device: str, clip: float) -> Step:
    """Return a variant's step on its own copy of network and batch."""
    return (VARIANTS | GPU_VARIANTS)[variant](case, case.network(device), case.batch(device), clip)


def time_case(case: Case, variants: list[str], device: str, rounds: int) -> dict[str, Any]:
    """Return seconds of ``plain`` and, by variant, median and range of the ratio to it."""
    clip = median_norm(case, device)
    steps = {name: make(case, name, device, clip) for name in variants}
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in random.sample(variants, len(variants)):
            taken[name].append(seconds(steps[name], device))
    found: dict[str, Any] = {"plain_seconds": statistics.median(taken["plain"])}
    for name in variants:
        ratios = [ours / floor for ours, floor in zip(taken[name], taken["plain"], strict=True)]
        found[name] = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return found


def measure_memory(case: Case, variant: str, device: str) -> int:
    """Return ``peak`` from a process of its own, whose C library gives memory back when it is freed.

    With glibc's default, what was freed in odd places stays resident: the peak would tell the history of the heap.
    """
    command = [sys.executable, "-m", "bench.dpsgd", "--peak", variant, "--case", case.name, "--device", device]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout.split()[-1])


def time_noise(rounds: int) -> float:
    """Return CPU seconds to add noise to 3,867,299 float32 numbers, once per logical step."""
    source, parts = NoiseSource.from_os(), [torch.zeros(3_867_299)]
    taken = []
    for step in range(rounds + 1):
        start = time.process_time()
        source.add_gaussian(parts, 1.0, "bench", step)
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def text_of(results: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    variants = results["variants"]
    lines = [f"{results['device']}; torch {results['torch']}; {results['rounds']} rounds", ""]
    lines += ["| step | plain | " + " | ".join(variants[1:]) + " |", "|---" * (len(variants) + 1) + "|"]
    for name, row in results["time"].items():
        cells = [f"{row[v]['ratio']:.2f} ({row[v]['lowest']:.2f}-{row[v]['highest']:.2f})" for v in variants[1:]]
        lines.append(f"| {name} | {row['plain_seconds']:.2f} s | " + " | ".join(cells) + " |")
    for name, row in results["memory"].items():
        cells = [f"{row[v] / row['plain']:.2f}" for v in variants[1:]]
        lines.append(f"| memory, {name} | {row['plain'] / 1e6:.0f} MB | " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, "", f"noise for 3.87M parameters, once per logical step: {results['noise_seconds']:.3f} s"]
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.dpsgd", description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", action="append", help="cases whose name contains this; may be repeated")
    parser.add_argument("--variant", action="append", help="besides plain; default all; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=int, help="times the images per step; default 1, on a GPU 8")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = options.device
    known = list(VARIANTS) + (list(GPU_VARIANTS) if device == "cuda" else [])
    variants = ["plain", *(v for v in options.variant or known if v != "plain")]
    if unknown := set(variants) - set(known):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    scale = options.scale or (8 if device == "cuda" else 1)
    chosen = [case for case in cases(scale) if any(part in case.name for part in options.case or [""])]
    if options.peak:
        print(peak(lambda: make(chosen[0], options.peak, device, 0.5), device))
        return
    if not chosen:
        parser.error(f"no such case; there are {', '.join(case.name for case in cases(scale))}")
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{platform.processor()} CPU, 1 thread",
        "torch": torch.__version__,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "rounds": options.rounds,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "variants": variants,
        "time": {},
        "memory": {},
    }
    for case in chosen:
        print(f"{case.name} ...", file=sys.stderr, flush=True)
        results["time"][case.name] = time_case(case, variants, device, options.rounds)
        if not options.no_memory:
            results["memory"][case.name] = {name: measure_memory(case, name, device) for name in variants}
    results["noise_seconds"] = time_noise(options.rounds)
    print(json.dumps(results, indent=1) if options.json else text_of(results))


if __name__ == "__main__":
    main()
