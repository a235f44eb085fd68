"""``dpib results``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpib.cli.output import note, print_json, print_table
from dpib.files import DEFAULT_RUNS

if TYPE_CHECKING:
    import pandas as pd


_IN_LATEX = ("track", "dataset", "epsilon", "name", "mean", "low", "high", "seeds", "rank_best", "rank_worst")


def _name(row: Any) -> str:
    """Return how tables call a row of standings."""
    from dpib.query import name_of

    return name_of(row) + (" (tuned)" if row.tuned else "")


def print_standings(table: pd.DataFrame) -> None:
    """Print the ranked table, one block per dataset and ε."""
    from dpib.privacy.statement import round_up
    from dpib.standings import MIN_SEEDS

    for (track, dataset, epsilon), cell in table.groupby(["track", "dataset", "epsilon"]):
        typer.echo(f"\n{dataset}, ε = {epsilon:g} ({track})")
        rows = []
        for row in cell.itertuples():
            rank = f"{row.rank_best}" if row.rank_best == row.rank_worst else f"{row.rank_best}-{row.rank_worst}"
            standing = rank if row.ranked else ("reference" if row.reference else f"{row.seeds} of {MIN_SEEDS} seeds")
            rows.append(
                (
                    standing,
                    _name(row),
                    f"{row.mean:.1f} ± {row.high - row.mean:.1f}",
                    row.seeds,
                    "∞" if row.spent_epsilon != row.spent_epsilon else round_up(row.spent_epsilon),
                    f"{row.minutes:.1f} min" if row.minutes >= 1 else f"{row.minutes * 60:.0f} s",
                )
            )
        print_table(("rank", "method", "Acc % (Noisy SenV)", "seeds", "ε spent", "per run"), rows)


def _print_against_paper(table: pd.DataFrame) -> None:
    """Print our means beside the paper's numbers, and how the ranks of methods agree."""
    from dpib.comparison import kendall
    from dpib.paper import REMARK

    rows = (
        (
            row.track,
            row.dataset + (" *" if row.copy_of_data else ""),
            f"{row.epsilon:g}",
            _name(row),
            f"{row.mean:.1f} ± {row.high - row.mean:.1f}",
            row.seeds,
            "" if row.paper != row.paper else f"{row.paper:.1f}",
            "" if row.paper != row.paper else f"{row.mean - row.paper:+.1f}",
        )
        for row in table.itertuples()
    )
    print_table(("track", "dataset", "ε", "method", "ours", "seeds", "paper", "difference"), rows)
    for cell in kendall(table):
        place = f"{cell.dataset}, ε = {cell.epsilon:g} ({cell.track})"
        typer.echo(f"{place}: Kendall's τ {cell.tau:+.2f} over {cell.configurations} configurations")
    note(REMARK)


def _print_against_method(table: pd.DataFrame, name: str) -> None:
    """Print by how much each configuration is better or worse than one of them."""
    rows = (
        (
            row.track,
            row.dataset,
            f"{row.epsilon:g}",
            _name(row),
            f"{row.mean:.1f}",
            row.seeds,
            f"{row.difference:+.1f} ± {row.interval:.1f}",
            row.verdict,
        )
        for row in table.itertuples()
    )
    print_table(("track", "dataset", "ε", "method", "Acc %", "seeds", f"less {name}", ""), rows)


@dataclass(frozen=True)
class _View:
    """One answer in the forms it can be asked for.

    Attributes:
        rows: for JSON and CSV.
        standings: for LaTeX, with these ``extra`` columns.
        show: prints them for a person.
    """

    rows: pd.DataFrame
    standings: pd.DataFrame
    extra: tuple[str, ...]
    show: Callable[[pd.DataFrame], None]


def _view(frame: pd.DataFrame, known: pd.DataFrame, against: str | None, table: str) -> _View:
    """Return records as they are, beside the paper's numbers, or as differences to one method's."""
    from dpib.comparison import against_method, against_paper
    from dpib.paper import put_beside
    from dpib.standings import standings

    if against is None:
        return _View(frame, standings(frame, known=known), (), print_standings)
    if against == "paper":
        frame = put_beside(frame, table)
        return _View(frame, against_paper(frame, known), ("paper",), _print_against_paper)
    compared = against_method(frame, against, known)
    show = partial(_print_against_method, name=against)
    return _View(compared, compared, ("difference", "interval", "verdict"), show)


def _why_nothing(everything: pd.DataFrame, runs: Path) -> str:
    """Return why a query found nothing, and what there is."""
    if everything.empty:
        return f"No records below {runs}. Start with: dpib run dp-merf --dataset digits --epsilon 10 --track demo"
    columns = ("track", "dataset", "method", "epsilon")
    there = "; ".join(f"{name} {', '.join(map(str, sorted(set(everything[name]))))}" for name in columns)
    return f"None of the {len(everything)} records below {runs} is of that kind. There are: {there}."


def results(
    runs: Annotated[Path, typer.Option(help="Folder of run folders, or a results store.")] = DEFAULT_RUNS,
    track: Annotated[str | None, typer.Option(help="Keep this track or family, e.g. lite.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Keep this dataset.")] = None,
    method: Annotated[str | None, typer.Option(help="Keep this method.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Keep this ε.")] = None,
    public: Annotated[str | None, typer.Option(help="Keep this public data; none for none.")] = None,
    variant: Annotated[str | None, typer.Option(help="Keep this variant.")] = None,
    seed: Annotated[int | None, typer.Option(help="Keep this seed.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="paper: its numbers beside ours. A method as the table calls it: differences to it."),
    ] = None,
    table: Annotated[str, typer.Option(help="The paper's table that goes first with --against, e.g. XIII.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line per record.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table of the standings.")] = False,
) -> None:
    """Query records: a ranked table, or every record as JSON or CSV; from Python, dpib.results() is a DataFrame.

    Ranks are intervals: methods whose difference seeds and test set explain share them. References and
    methods with fewer than three seeds are shown, not ranked.

        dpib results --track lite --dataset mnist

        dpib results --runs submissions --against paper

        dpib results --track lite --against dp-merf
    """
    from dpib.errors import ConfigError
    from dpib.paper import tables
    from dpib.query import results as query
    from dpib.query import select, store_around

    if json + csv + latex > 1:
        raise ConfigError("Choose one of --json, --csv and --latex.")
    if table and against != "paper":
        raise ConfigError("--table is one of the paper's: it goes with --against paper.")
    if table and table not in tables():
        raise ConfigError(f"No table '{table}' of the paper. Known: {', '.join(tables())}.")
    if runs != DEFAULT_RUNS and not runs.is_dir():
        raise ConfigError(f"No folder of runs at {runs}.")
    if (around := store_around(runs)) is not None:
        raise ConfigError(f"{runs} is no folder of runs, but {around} is: give --runs {around}.")
    everything = query(runs)
    wishes = {"dataset": dataset, "method": method, "epsilon": epsilon, "public": public, "variant": variant}
    frame = select(everything, track=track, seed=seed, **wishes)
    if frame.empty:
        note(_why_nothing(everything, runs))
        if json:
            print_json([])
        return
    view = _view(frame, everything, against, table)
    if json:
        rows = view.rows.replace([float("inf")], float("nan"))
        print_json(rows.astype(object).where(rows.notna(), None).to_dict(orient="records") if len(rows) else [])
    elif csv:
        typer.echo(view.rows.to_csv(index=False), nl=False)
    elif latex:
        named = view.standings.assign(name=[_name(row) for row in view.standings.itertuples()])
        typer.echo(named[[*_IN_LATEX, *view.extra]].to_latex(index=False, float_format="%.1f", escape=True))
    else:
        view.show(view.standings)
