"""``dpib run``: one run, or a grid of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.options import refuse_options
from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.errors import ConfigError
from dpib.files import DEFAULT_RUNS
from dpib.grids.base import RunnerSettings

if TYPE_CHECKING:
    from dpib.records import RunRecord


def print_record(record: RunRecord, folder: Path) -> None:
    """Print the record for a person: what was spent, what it scored, where it lies."""
    from dpib.privacy.statement import round_up

    privacy = record.privacy
    spent = "∞ (not private)" if privacy.spent_epsilon is None else round_up(privacy.spent_epsilon)
    rows = []
    for score in record.scores:
        value = f"undefined: {score.reason}" if score.value is None else f"{score.value:.4g}"
        error = "" if score.stderr is None else f"± {score.stderr:.2g}"
        rows.append((score.label, value, error, "" if score.private_selection else "selection not DP"))
    spec = record.task.spec
    typer.echo(f"{record.method.title} on {spec.dataset}, ε = {spec.epsilon:g}, seed {spec.seed}, {spec.track}")
    budget = f"at δ = {round_up(privacy.delta)} (target {privacy.target_epsilon:g})"
    typer.echo(f"ε spent: {spent} {budget}; {record.status}")
    print_table(("score", "value", "", ""), rows)
    cost = record.cost
    typer.echo(f"{cost.total_seconds / 60:.1f} min, {cost.peak_memory_bytes / 2**30:.1f} GiB; images in {folder}")


_OF_ONE_RUN = ("dataset", "epsilon", "track", "seed", "public", "pretrain", "prelude", "variant", "set_")
_OF_A_GRID = ("runner", "jobs", "timeout", "address", "also")


def run(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="A method, or a grid file that ends in .toml.")],
    dataset: Annotated[str | None, typer.Option(help="A dataset of the track; see dpib datasets.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Privacy budget ε > 0; δ is the dataset's.")] = None,
    track: Annotated[str, typer.Option(help="The rules: demo, lite, or a full name such as lite-v1.")] = "lite",
    seed: Annotated[int, typer.Option(help="Public seed; DP noise never comes from it.")] = 0,
    public: Annotated[str, typer.Option(help="Public dataset D, a share of it (D:5%, D:random-5%), or none.")] = "none",
    pretrain: Annotated[str | None, typer.Option(help="conditional (default with --public), unconditional.")] = None,
    prelude: Annotated[
        list[str] | None, typer.Option(help="Private query whose images are learnt first; repeatable.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="A named size preset of the method.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a hyper-parameter, k=v or PRELUDE.k=v; repeatable.")
    ] = None,
    plugin: Annotated[Path | None, typer.Option(help="A single Python file that brings the method.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = DEFAULT_RUNS,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runner: Annotated[str, typer.Option(help="Grid: who does the runs, local or ray.")] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="Grid: how many runs at a time.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.01, help="Grid: minutes a run may take, with retries and waiting for a shared pretraining."),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Grid: address of the Ray cluster; auto finds it.")] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Grid: results store whose records count as done; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run a method on a dataset at one ε, or what is missing of a grid file; the same command resumes.

    A finished run is not repeated: its record is printed again. In a grid a run that fails does not stop the others;
    what is impossible here is skipped and told. dpib plan says beforehand.

        dpib run dp-merf --dataset digits --epsilon 10 --track demo

        dpib run dp-gan --dataset cifar10-jpeg75 --epsilon 10 --public tiny-imagenet-32:5% --prelude central-images

        dpib run experiments/demo.toml --jobs 2 --timeout 30
    """
    from dpib import config, plugins

    is_grid = method.endswith(".toml")
    if is_grid:
        refuse_options(ctx, _OF_ONE_RUN, f"{method} is a grid file, which says itself what to run: write it there")
    else:
        refuse_options(ctx, _OF_A_GRID, f"{method} is one run, and this is for grid files (GRID.toml)")
    if plugin is not None:
        with prints_on_stderr():
            plugins.load_file(plugin)
    if is_grid:
        from dpib.cli.run_grid import run_grid

        settings = RunnerSettings(jobs, address)
        files = [plugin] if plugin else []
        run_grid(Path(method), runs, data_dir, device, runner, settings, timeout, also or [], files, json, quiet)
        return
    if dataset is None or epsilon is None:
        raise ConfigError("A run needs --dataset and --epsilon. Example: dpib run dp-merf --dataset mnist --epsilon 1")
    from dpib.job import make_spec, prepare

    overrides = dict(config.parse_override(text) for text in set_ or [])
    with prints_on_stderr():
        spec = make_spec(method, dataset, epsilon, track, seed, public, pretrain, prelude or (), variant, overrides)
        job = prepare(spec)
        from dpib.runner import run_job
        from dpib.workspace import Workspace

        workspace = Workspace(runs, spec)
        found = workspace.record_path.exists()
        record = run_job(job, runs, data_dir, device, quiet=quiet)
    if found:
        note(f"Reused: {workspace.folder} is complete.")
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        print_record(record, workspace.folder)
