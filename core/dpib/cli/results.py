"""``dpib results``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd


def print_standings(frame: pd.DataFrame) -> None:
    """Print the ranked table, one block per dataset and ε."""
    from dpib.query import display_name
    from dpib.standings import MIN_SEEDS, standings

    table = standings(frame)
    for (track, dataset, epsilon), cell in table.groupby(["track", "dataset", "epsilon"]):
        typer.echo(f"\n{dataset}, ε = {epsilon:g} ({track})")
        rows = []
        for row in cell.itertuples():
            rank = f"{row.rank_best}" if row.rank_best == row.rank_worst else f"{row.rank_best}-{row.rank_worst}"
            standing = rank if row.ranked else ("reference" if row.reference else f"{row.seeds} of {MIN_SEEDS} seeds")
            name = display_name(row.method, row.variant, row.public, row.pretrain, row.preludes)
            rows.append(
                (
                    standing,
                    name + (" (tuned)" if row.tuned else ""),
                    f"{row.mean:.1f} ± {row.high - row.mean:.1f}",
                    row.seeds,
                    "∞" if row.spent_epsilon != row.spent_epsilon else f"{row.spent_epsilon:.3f}",
                    f"{row.minutes:.1f} min" if row.minutes >= 1 else f"{row.minutes * 60:.0f} s",
                )
            )
        print_table(("rank", "method", "Acc % (Noisy SenV)", "seeds", "ε spent", "per run"), rows)


def results(
    runs: Annotated[Path, typer.Option(help="Folder of run folders, or a results store.")] = Path("runs"),
    track: Annotated[str | None, typer.Option(help="Keep this track or family, e.g. lite.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Keep this dataset.")] = None,
    method: Annotated[str | None, typer.Option(help="Keep this method.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Keep this ε.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line per record.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table of the standings.")] = False,
) -> None:
    """Query records: a ranked table, or every record as JSON or CSV.

    Ranks are intervals: methods whose difference seeds and test set explain share them. References and
    methods with fewer than three seeds are shown, not ranked.

        dpib results --track lite --dataset mnist
    """
    from dpib.query import results as query
    from dpib.standings import standings

    frame = query(runs, track=track, dataset=dataset, method=method, epsilon=epsilon)
    if json:
        rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records") if len(frame) else []
        print_json(rows)
    elif frame.empty:
        note(f"No records below {runs}. Start with: dpib run dp-merf --dataset digits --epsilon 10 --track demo")
    elif csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif latex:
        columns = [
            "dataset",
            "epsilon",
            "method",
            "variant",
            "preludes",
            "public",
            "mean",
            "low",
            "high",
            "seeds",
            "rank_best",
            "rank_worst",
        ]
        typer.echo(standings(frame)[columns].to_latex(index=False, float_format="%.1f", escape=True))
    else:
        print_standings(frame)
