"""``dpib eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpib.cli.output import note, print_json, print_table


def eval(
    images: Annotated[Path, typer.Argument(help="A parquet or npz file, or a folder with one subfolder per class.")],
    dataset: Annotated[str, typer.Option(help="The sensitive dataset to score against.")],
    track: Annotated[str, typer.Option(help="Whose metrics and classifiers: demo, lite, or a full name.")] = "lite",
    epsilon: Annotated[
        float | None, typer.Option(help="Choose epochs privately at this ε; without it Noisy SenV stays undefined.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for scores and, with --epsilon, the ledger.")] = Path("evals"),
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors; else DPIB_DATA, else the Hub.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Score any set of labelled images with the metrics of a track, without training a generator.

    The same images are scored once: a repeated call prints the stored scores, and selects no second time.

        dpib eval my_images/ --dataset mnist --track lite
    """
    from dpib.evaluate_images import evaluate_images

    scores, folder = evaluate_images(
        images, dataset, track=track, epsilon=epsilon, out=out, data_dir=data_dir, quiet=quiet
    )
    if json:
        print_json([score.model_dump(mode="json") for score in scores])
        return
    rows = []
    for score in scores:
        name = " ".join(filter(None, (score.metric, score.protocol, score.classifier or "")))
        rows.append((name, f"undefined: {score.reason}" if score.value is None else f"{score.value:.4g}"))
    print_table(("score", "value"), rows)
    note(f"Scores compare with real images exactly; they are not differentially private. Kept in {folder}.")
