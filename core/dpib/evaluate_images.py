"""Scores of images that did not come from a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

from dpib import catalogue
from dpib.context import RunContext
from dpib.data.load import load_splits, locate
from dpib.data.readers import read_images
from dpib.errors import ConfigError
from dpib.evaluation import evaluate
from dpib.files import exclusive, write_text_atomically
from dpib.machine import choose_device
from dpib.metrics.base import EpochSelector, EvalInputs
from dpib.metrics.selection import NoisySelector
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import forget_noise, noise_of_folder
from dpib.privacy.private import PrivateDataset
from dpib.progress import terminal_reporter
from dpib.records import Score
from dpib.seeds import Seeds


def evaluate_images(
    path: Path,
    dataset: str,
    *,
    track: str = "lite",
    epsilon: float | None = None,
    out: Path = Path("evals"),
    data_dir: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> tuple[tuple[Score, ...], Path]:
    """Score labelled images with a track's metrics.

    Args:
        path: see ``dpib.data.readers.read_images``.
        dataset: the sensitive dataset they stand for.
        track: whose rules.
        epsilon: budget of the private choice of epochs on the validation side, entered in ``ledger.jsonl``; None:
            no such choice is made.
        out: root of the folders for results.
        data_dir: folder of data mirrors.
        device: torch device, or ``"auto"``.
        quiet: draw no progress.

    Returns:
        The scores, and the folder they are kept in. Found scores of the same images, track and ε are returned as
        they are: a private choice is made once.

    Raises:
        ConfigError: if ε or a name is wrong.
        DataError: if the images do not fit the dataset.
    """
    if epsilon is not None and not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigError(f"Expected a finite ε above 0, got {epsilon}.")
    rules, card = catalogue.track(track), catalogue.dataset(dataset)
    locate(card, data_dir)
    task = card.task()
    synthetic = read_images(path, task)
    choice = "no-selection" if epsilon is None else f"eps{epsilon:g}"
    folder = out / rules.name / card.name / f"{synthetic.fingerprint[:16]}-{choice}"
    stored = folder / "scores.json"
    if stored.exists():
        return tuple(Score.from_plain(item) for item in json.loads(stored.read_text())), folder
    device = choose_device(device)
    with exclusive(folder), terminal_reporter(quiet) as reporter:
        splits = load_splits(card, data_dir)
        selector: EpochSelector | None = None
        if epsilon is not None:
            noise, session = noise_of_folder(folder)
            budget = Budget(epsilon=epsilon, delta=card.delta)
            ledger = PrivacyLedger(LedgerFile(folder / "ledger.jsonl"), "validation", budget, session)
            context = RunContext(folder / "state", device, Seeds(0), reporter)
            validation = PrivateDataset(splits.validation, task, ledger, noise, context)
            selector = NoisySelector(validation, epsilon, len(rules.classifiers))
        inputs = EvalInputs(
            synthetic=synthetic,
            splits=splits,
            task=task,
            track=rules,
            device=device,
            cache=out / ".cache" / "features",
            reporter=reporter,
            selector=selector,
        )
        scores = evaluate(inputs)
        content = [score.model_dump(mode="json") for score in scores]
        write_text_atomically(stored, json.dumps(content, indent=1, allow_nan=False) + "\n")
        forget_noise(folder)
    return scores, folder
