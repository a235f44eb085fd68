"""What fits of the ``paper`` track into some minutes of a machine: ``python -m bench.gpu --minutes M``.

First the ratio table of the engine (``bench.dpsgd``), once; then the runs below, cheapest first. Every run continues
where the last call left it, so that short slots add up. For each stage the rate and the projected time are printed;
a run that did not finish has no record. The figures are in ``figures.json`` beside the runs as they come.

Run from the repository's root, e.g. ``python -m bench.gpu --minutes 10 --runs runs-gpu --json > figures.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpib import catalogue
from dpib.errors import DpibError
from dpib.files import write_text_atomically
from dpib.job import make_spec, prepare
from dpib.machine import choose_device, hardware_name
from dpib.progress import RunEvent
from dpib.runner import run_job
from dpib.spec import Track

GROUPS = (
    ("dp-means", "dp-merf", "dp-ntk", "dp-kernel"),
    ("gs-wgan", "dp-gan"),
    ("dp-ldm-sd", "dp-lora", "dp-ldm", "dpdm", "dp-feta", "pdp-diffusion", "privimage"),
)
"""Methods by cost: one release; GANs; diffusion."""


class TimeUp(KeyboardInterrupt):
    """The slot is over. Ends a run as Ctrl-C does: its folder stays as it is and the next call continues."""


@dataclass(frozen=True)
class Stage:
    """How far one stage of a run came in this call.

    Attributes:
        first: units that an earlier call had done.
        seconds: spent on it in this call.
    """

    name: str
    first: int
    done: int
    total: int | None
    seconds: float

    @property
    def rate(self) -> float | None:
        """Units per second; None if nothing was counted."""
        return (self.done - self.first) / self.seconds if self.done > self.first and self.seconds > 0 else None

    @property
    def projected_seconds(self) -> float | None:
        """What the whole stage takes at this rate."""
        return self.total / self.rate if self.total and self.rate else None


class Stopwatch:
    """Observer that measures the stages of a run and ends it when the slot is over.

    Args:
        deadline: on ``clock``.
        clock: seconds.
    """

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline, self._clock = deadline, clock
        self._stages: dict[str, Stage] = {}
        self._first: dict[str, tuple[int, float]] = {}

    @property
    def stages(self) -> list[Stage]:
        """What was measured, in order."""
        return list(self._stages.values())

    def __call__(self, event: RunEvent) -> None:
        """Take note; raise ``TimeUp`` after the deadline."""
        if event.kind == "advanced" and event.stage not in self._first:
            self._first[event.stage] = event.done, event.seconds
        if event.kind in ("advanced", "finished"):
            first, began = self._first.get(event.stage, (0, 0.0))
            seconds = event.seconds - began
            self._stages[event.stage] = Stage(event.stage, first, event.done, event.total, seconds)
        if self._clock() >= self._deadline:
            raise TimeUp


def units(track: str, epsilon: float) -> list[dict[str, Any]]:
    """Return what to run: group by group, within a group dataset by dataset in the track's order."""
    installed = {method.card.name: method.card for method in catalogue.methods()}
    rules = catalogue.track(track)
    points = [(name, data) for group in GROUPS for data in rules.datasets for name in group if name in installed]
    return [
        {
            "method": name,
            "dataset": data,
            "epsilon": epsilon,
            "track": rules.name,
            "public": public_for(rules, data) if installed[name].public_data == "required" else "none",
        }
        for name, data in points
    ]


def public_for(rules: Track, dataset: str) -> str:
    """Return the first public dataset of a track whose images are at least as large; ``"none"`` without one."""
    side = catalogue.dataset(dataset).shape[-1]
    sides = ((name, catalogue.dataset(name).shape[-1]) for name in rules.public_datasets)
    return next((name for name, other in sides if other >= side), "none")


def measure(unit: dict[str, Any], runs: Path, device: str, deadline: float) -> dict[str, Any]:
    """Run one unit until it is complete, fails, or the slot is over; return what happened."""
    watch, began = Stopwatch(deadline), time.monotonic()
    try:
        record = run_job(prepare(make_spec(**unit)), runs, device=device, observers=[watch], quiet=True)
        outcome: dict[str, Any] = {"status": record.status, "minutes_in_all": record.cost.total_seconds / 60}
    except TimeUp:
        outcome = {"status": "to be continued"}
    except DpibError as error:
        outcome = {"status": "not possible here", "reason": str(error)}
    rows = [asdict(s) | {"rate": s.rate, "projected_seconds": s.projected_seconds} for s in watch.stages]
    return {**unit, **outcome, "seconds": time.monotonic() - began, "stages": rows}


def engine_table(runs: Path, device: str) -> Any:
    """Return the engine's ratio table, measured once and kept beside the runs."""
    path = runs / f"engine-{device.replace(':', '-')}.json"
    if not path.exists():
        done = subprocess.run(
            [sys.executable, "-m", "bench.dpsgd", "--device", device.partition(":")[0], "--json"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(done.stdout)
    return json.loads(path.read_text())


def lines_of(row: dict[str, Any]) -> list[str]:
    """Return a unit's result as text."""
    head = f"{row['method']} {row['dataset']} ε={row['epsilon']:g}: {row['status']}"
    lines = [head + (f" ({row['reason']})" if "reason" in row else f", {row['seconds']:.0f} s in this call")]
    for stage in row["stages"]:
        if stage["rate"]:
            projected = f", the whole {stage['projected_seconds'] / 60:.1f} min" if stage["projected_seconds"] else ""
            counted = f"{stage['done']}/{stage['total'] or '?'}"
            lines.append(f"    {stage['name']}: {counted}, {stage['rate']:.3g} per second{projected}")
    return lines


def main() -> None:
    """Parse the command line, run until the time is up, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, required=True, help="length of the slot")
    parser.add_argument("--each", type=float, default=float("inf"), help="minutes for a run at most, then the next one")
    parser.add_argument("--dataset", action="append", help="only this one; may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs-gpu"), help="run folders, continued by the next call")
    parser.add_argument("--device", default="cuda", help="a torch device; cpu to try the command out")
    parser.add_argument("--track", default="paper-v1")
    parser.add_argument("--epsilon", type=float, default=10.0)
    parser.add_argument("--method", action="append", help="only this one; may be repeated")
    parser.add_argument("--no-engine", action="store_true", help="leave out the engine's ratio table")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {options.minutes:g}")
    try:
        device = choose_device(options.device)
        planned = units(options.track, options.epsilon)
    except DpibError as error:
        parser.error(str(error))
    deadline = time.monotonic() + 60 * options.minutes
    results: dict[str, Any] = {"device": hardware_name(device), "minutes": options.minutes, "units": []}
    if not options.no_engine:
        results["engine"] = engine_table(options.runs, device)
    for unit in planned:
        if unit["method"] not in (options.method or [unit["method"]]):
            continue
        if unit["dataset"] not in (options.dataset or [unit["dataset"]]):
            continue
        if time.monotonic() >= deadline:
            break
        end = min(deadline, time.monotonic() + 60 * options.each)
        results["units"].append(measure(unit, options.runs, device, end))
        print("\n".join(lines_of(results["units"][-1])), file=sys.stderr, flush=True)
        write_text_atomically(options.runs / "figures.json", json.dumps(results, indent=1))  # a slot may end early
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
