"""The limited process that scores what an isolated run released. It holds all sides of the data and runs no plugin."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from pydantic import ValidationError

from dpib.errors import DpibError, RunError
from dpib.files import write_text_atomically
from dpib.isolation.limited import Limits, run_limited
from dpib.records import Score
from dpib.spec import Frozen, RunSpec
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import printable
from dpib_leaderboard.recompute import child_environment
from dpib_leaderboard.reviews import Check

MODULE = "dpib_leaderboard.rescore"


class Rescored(Frozen):
    """What the process answers: ε of both sides, the scores, what the copy test found."""

    spent_epsilon: float
    scores: tuple[Score, ...]
    test_images: int
    checks: tuple[Check, ...]


def rescore(spec: RunSpec, ledger: bytes, images: Path, data_dir: Path | None, allowed: Limits) -> Rescored:
    """Price and score the release of an isolated run in a limited process.

    Raises:
        RunError: if the process ends without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="dpib-rescore-") as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(spec.canonical())
        (folder / "ledger.jsonl").write_bytes(ledger)
        command = [sys.executable, "-P", "-m", MODULE, scratch, str(images.resolve())]
        command += ["--data-dir", str(data_dir.resolve())] if data_dir else []
        environment = child_environment() | {"DPIB_PLUGINS": ""}  # scored by what comes with dpib
        ended = run_limited(command, allowed, environment=environment, folder=folder)
        answer = folder / "answer.json"
        if ended.failure or not answer.exists():
            raise RunError(f"Scoring {spec.method} {ended.failure or 'gave no answer'}")
        try:
            return Rescored.from_plain(json.loads(answer.read_text()))
        except (ValidationError, ValueError) as error:
            raise RunError(f"Scoring {spec.method} answered nonsense: {printable(str(error))}") from error


def compute(folder: Path, images_path: Path, data_dir: Path | None) -> Rescored:
    """Do the work.

    Raises:
        DpibError: the ledger, the labels or an image is not what a run releases.
    """
    from dpib import catalogue
    from dpib.data.load import load_splits
    from dpib.generation import balanced_labels
    from dpib.privacy.ledger import Budget, PrivacyLedger, parse_charges, read_ledger_lines
    from dpib.progress import Reporter
    from dpib.stages import score
    from dpib.workspace import Workspace
    from dpib_leaderboard.copies import diversity_checks
    from dpib_leaderboard.images import read_images
    from dpib_leaderboard.rules import check_charge

    spec = RunSpec.model_validate_json((folder / "spec.json").read_bytes())
    track, card = catalogue.track(spec.track), catalogue.dataset(spec.dataset)
    charges, executed = parse_charges(read_ledger_lines(folder / "ledger.jsonl"))
    if len(charges) > limits.CHARGES:
        raise RunError(f"{len(charges)} charges; at most {limits.CHARGES} are priced.")
    for charge in charges:
        check_charge(charge, executed.get(charge.id))
    images = read_images(images_path, track.n_images, card.shape)
    if not images.labels.equal(balanced_labels(track.n_images, len(card.classes))):
        raise RunError("The labels of the images are not those that the harness asked for.")
    splits = load_splits(card, data_dir)
    workspace = Workspace(folder / "runs", spec)
    workspace.folder.mkdir(parents=True)
    workspace.ledger_path.write_bytes((folder / "ledger.jsonl").read_bytes())
    noise, session = workspace.noise()
    file, budget = workspace.ledger_file(), Budget(epsilon=spec.epsilon, delta=card.delta)
    train = PrivacyLedger(file, "train", budget, session, track.relation)
    if train.spent() > spec.epsilon * (1 + 1e-9):
        raise RunError(f"The ledger charges ε = {train.spent():.6g} of {spec.epsilon:g}.")
    validation = PrivacyLedger(file, "validation", budget, session, track.relation)
    scores = score(workspace, track, card, splits, images, validation, noise, "cpu", Reporter())
    return Rescored(
        spent_epsilon=max(train.spent(), validation.spent()),
        scores=scores,
        test_images=len(splits.test),
        checks=tuple(diversity_checks(images, splits, card)[0]),
    )


def main() -> None:
    """``python -m dpib_leaderboard.rescore FOLDER IMAGES``, in a limited process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    try:
        answer = compute(options.folder, options.images, options.data_dir)
    except DpibError as error:
        sys.exit(str(error))
    write_text_atomically(options.folder / "answer.json", answer.canonical())


if __name__ == "__main__":
    main()
