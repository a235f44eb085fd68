"""``dpib eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpib.cli.output import note, print_json, print_table, prints_on_stderr


def eval(
    images: Annotated[
        Path, typer.Argument(help="A parquet or npz file, a folder with one subfolder per class, or a run folder.")
    ],
    dataset: Annotated[
        str | None, typer.Option(help="The sensitive dataset to score against; a run has its own.")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            help="Whose metrics and classifiers: demo, lite, paper, or a full name. [default: lite, or the run's]"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Compute this metric only; may be repeated. See: dpib metrics")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Choose epochs privately at this ε; without it Noisy SenV stays undefined.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for scores and, with --epsilon, the ledger.")] = Path("evals"),
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Score any set of labelled images with the metrics of a track, without training a generator.

    The same images are scored once: a repeated call prints the stored scores, and selects no second time; only what
    was undefined is computed again. A run folder is scored anew at the epochs that its run chose.

        dpib eval my_images/ --dataset mnist --track lite
        dpib eval runs/lite-v1/mnist/dp-merf/eps1-seed0-1a2b3c4d --metric diversity
    """
    from dpib.evaluate_images import evaluate_images

    with prints_on_stderr():
        scores, folder = evaluate_images(
            images, dataset, track=track, epsilon=epsilon, metrics=metric, out=out, data_dir=data_dir, quiet=quiet
        )
    if json:
        print_json([score.model_dump(mode="json") for score in scores])
        return
    rows = []
    for score in scores:
        rows.append((score.label, f"undefined: {score.reason}" if score.value is None else f"{score.value:.4g}"))
    print_table(("score", "value"), rows)
    note(f"Scores compare with real images exactly; they are not differentially private. Kept in {folder}.")
