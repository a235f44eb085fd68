"""A grid file: the runs of an experiment as lists that are multiplied out.

::

    [[runs]]
    track = "demo"
    methods = ["dp-merf", "uniform"]
    datasets = ["digits"]
    epsilons = [1, 10]
    seeds = [0, 1, 2]
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from dpib.errors import ConfigError, DpibError, RunError
from dpib.job import Job, make_spec, prepare
from dpib.progress import terminal_reporter
from dpib.records import RunRecord
from dpib.runner import run_job
from dpib.spec import Frozen, RunSpec, describe_validation_error


class GridBlock(Frozen):
    """Runs that differ in method, dataset, ε and seed; every combination is one run."""

    track: str
    methods: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    epsilons: tuple[float, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = (0,)
    public: str = "none"
    pretrain: str | None = None
    preludes: tuple[str, ...] = ()
    variant: str | None = None


class Grid(Frozen):
    """The content of a grid file."""

    runs: tuple[GridBlock, ...] = Field(min_length=1)

    def specs(self) -> list[RunSpec]:
        """Return every run once, in the order of the file."""
        specs = [
            make_spec(
                method,
                dataset,
                epsilon,
                block.track,
                seed,
                block.public,
                block.pretrain,
                block.preludes,
                block.variant,
            )
            for block in self.runs
            for seed, epsilon, dataset, method in itertools.product(
                block.seeds, block.epsilons, block.datasets, block.methods
            )
        ]
        return list({spec.digest: spec for spec in specs}.values())


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        ConfigError: if it is missing, not TOML, or has a wrong key or value.
    """
    try:
        return Grid.from_plain(tomllib.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ConfigError(f"No grid file at {path}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation_error(error)}.") from error


def run_grid(
    grid: Grid, runs: Path, data_dir: Path | None = None, device: str = "auto", *, quiet: bool = False
) -> list[RunRecord]:
    """Run what is missing of a grid, one run after the other; a failed run does not stop the others.

    Every run is looked up and checked before the first one starts.

    Raises:
        ConfigError: if any run of the grid is wrong.
        RunError: at the end, if runs failed; names them. The finished ones are kept.
    """
    jobs: list[Job] = [prepare(spec) for spec in grid.specs()]
    records, failures = [], []
    with terminal_reporter(quiet) as reporter:
        for number, job in enumerate(jobs, start=1):
            name = f"{job.spec.method} {job.spec.dataset} ε={job.spec.epsilon:g} seed {job.spec.seed}"
            try:
                with reporter.task(f"[{number}/{len(jobs)}] {name}"):
                    records.append(run_job(job, runs, data_dir, device, quiet=True))
            except DpibError as error:
                failures.append(f"{name}: {error}")
                reporter.note(f"failed: {failures[-1]}")
    if failures:
        raise RunError(f"{len(failures)} of {len(jobs)} runs failed; the others are kept. " + " | ".join(failures))
    return records
