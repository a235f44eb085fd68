"""What a review computes in a process of its own: ε, the images, the copy test and the scores.

The process is limited before it opens anything (``dpib.isolation.limited``), has no token, executes nothing of a
submission, and answers with one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dpib.errors import DpibError, RecordError
from dpib.files import write_text_atomically
from dpib.isolation.limited import Limits, base_environment, run_limited
from dpib.records import RunRecord, Score
from dpib.spec import Frozen, canonical_json
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import printable
from dpib_leaderboard.reviews import Check, Diversity, failed

if TYPE_CHECKING:
    from dpib.data.images import LabelledImages, Splits
    from dpib.dataset_spec import DatasetSpec

MODULE = "dpib_leaderboard.recompute"
PASSED_ON = ("HOME", "TMPDIR", "PYTHONPATH", "DPIB_DATA", "DPIB_PLUGINS")
"""Environment variables that the process inherits beside those of every limited child; so no credential."""


class Recomputed(Frozen):
    """What the process answers."""

    checks: tuple[Check, ...]
    spent_epsilon: float | None = None
    second_opinion: float | None = None
    statement: str = ""
    scores: tuple[Score, ...] = ()
    diversity: Diversity | None = None


def recompute(
    folder: Path,
    *,
    scores: bool,
    data_dir: Path | None = None,
    memory: int = limits.CHILD_MEMORY,
    seconds: int = limits.CHILD_SECONDS,
) -> Recomputed:
    """Run the process on an inspected submission and return its answer; its death is a check that fails.

    Args:
        folder: what was submitted.
        scores: also retrain the classifiers and recompute every score.
        data_dir: folder of data mirrors.
        memory: address space of the process, in bytes.
        seconds: its time limit, on the clock and on the processor.
    """
    with tempfile.TemporaryDirectory(prefix="dpib-review-") as scratch:
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, "-P", "-m", MODULE, str(folder.resolve()), str(answer)]
        command += ["--scores"] if scores else []
        command += ["--data-dir", str(data_dir.resolve())] if data_dir else []
        allowed = Limits(memory=memory, seconds=seconds, disk=limits.CHILD_DISK)
        ended = run_limited(command, allowed, environment=child_environment(), folder=Path(scratch))
        if ended.failure or not answer.exists():
            return _died(printable(ended.failure or "gave no answer"))
        try:
            return Recomputed.from_plain(json.loads(answer.read_text()))
        except (ValidationError, ValueError) as error:
            return _died(f"answered nonsense: {printable(str(error))}")


def child_environment() -> dict[str, str]:
    """Return the environment of a process that opens what others submitted: it may load data, it holds no token."""
    environment = base_environment() | {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    hub_home = os.environ.get("HF_HOME") or str(Path.home() / ".cache/huggingface")
    return environment | {"HF_HOME": hub_home, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


def _died(reason: str) -> Recomputed:
    return Recomputed(checks=(Check(name="recomputation", holds=False, detail=f"the process {reason}"),))


def compute(folder: Path, scores: bool, data_dir: Path | None, cache: Path) -> Recomputed:
    """Do the work: the images first, for they cost least; stop at the first stage that fails."""
    from dpib import catalogue
    from dpib_leaderboard.images import read_images
    from dpib_leaderboard.validate import parse_record, read_bounded

    record = parse_record(read_bounded(folder / "record.json", limits.FILES["record.json"]))
    card = catalogue.dataset(record.task.spec.dataset)
    checks: list[Check] = []
    images: LabelledImages | None = None
    if (folder / limits.IMAGES).exists():
        try:
            images = read_images(folder / limits.IMAGES, record.synthetic.count, card.shape)
            checks += _image_checks(record, images, folder / "grid.png", cache)
        except DpibError as error:
            checks.append(Check(name="images", holds=False, detail=printable(str(error))))
    if failed(checks):
        return Recomputed(checks=tuple(checks))
    answer = _privacy(folder)
    if failed(answer.checks) or images is None:
        return answer.model_copy(update={"checks": (*checks, *answer.checks)})
    splits = _real_images(card, data_dir)
    if splits is None:
        undecided = Check(name="copy test and scores", holds=None, detail=f"{card.name} is not on this machine")
        return answer.model_copy(update={"checks": (*checks, *answer.checks, undecided)})
    return _against_real_images(answer, checks, record, card, images, splits, scores, cache)


def _against_real_images(
    answer: Recomputed,
    checks: list[Check],
    record: RunRecord,
    card: DatasetSpec,
    images: LabelledImages,
    splits: Splits,
    scores: bool,
    cache: Path,
) -> Recomputed:
    from dpib_leaderboard.copies import diversity_checks

    found, diversity = diversity_checks(images, splits, card)
    if record.privacy.spent_epsilon is None:
        found = [check.model_copy(update={"holds": None}) for check in found]
    checks = [*checks, *answer.checks, *found]
    answer = answer.model_copy(update={"checks": tuple(checks), "diversity": diversity})
    if failed(checks) or not scores:
        return answer
    return answer.model_copy(update={"scores": _scores(record, card, images, splits, cache)})


def _image_checks(record: RunRecord, images: LabelledImages, grid: Path, cache: Path) -> list[Check]:
    import torch

    from dpib.data.imagefile import save_grid
    from dpib_leaderboard.images import pixels_of

    counts = torch.bincount(images.labels, minlength=len(record.task.classes))
    labels_hold = len(counts) == len(record.task.classes) and tuple(counts.tolist()) == record.synthetic.per_class
    save_grid(cache / "grid.png", images, len(record.task.classes))
    same_grid = pixels_of(grid.read_bytes()) == pixels_of((cache / "grid.png").read_bytes())
    return [
        Check(name="images unchanged", holds=images.fingerprint == record.synthetic.digest, detail=f"{len(images)}"),
        Check(name="labels as recorded", holds=labels_hold, detail="images per class"),
        Check(name="grid shows the images", holds=same_grid, detail="first images of each class"),
    ]


def _privacy(folder: Path) -> Recomputed:
    """Check what ``dpib verify`` checks beside images and scores; ε and the statement are its own."""
    from dpib.verify import verify

    # `verify` reads images with its own reader; it is given a folder without them.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as bare:
        for name in ("record.json", "ledger.jsonl"):
            (Path(bare) / name).write_bytes((folder / name).read_bytes())
        try:
            found = verify(Path(bare), scores=False)
        except DpibError as error:
            detail = f"unsupported privacy claim: {printable(str(error))}"
            return Recomputed(checks=(Check(name="ε", holds=False, detail=detail),))
    return Recomputed(
        checks=tuple(
            Check(name=c.name, holds=c.holds, detail=printable(c.detail)) for c in found.checks if c.holds is not None
        ),
        spent_epsilon=found.spent_epsilon,
        second_opinion=found.second_opinion,
        statement=found.statement or "",
    )


def _real_images(card: DatasetSpec, data_dir: Path | None) -> Splits | None:
    from dpib.data.load import load_splits
    from dpib.errors import DataError

    try:
        return load_splits(card, data_dir)
    except DataError:
        return None


def _scores(
    record: RunRecord, card: DatasetSpec, images: LabelledImages, splits: Splits, cache: Path
) -> tuple[Score, ...]:
    """Recompute every score; the privately chosen epoch is read from the record, nothing selects again."""
    from dpib import catalogue
    from dpib.evaluation import evaluate
    from dpib.metrics.base import EvalInputs
    from dpib.metrics.selection import StoredSelector
    from dpib.progress import Reporter
    from dpib.verify import stored_epochs

    inputs = EvalInputs(
        synthetic=images,
        splits=splits,
        task=card.task(),
        track=catalogue.track(record.task.spec.track),
        device="cpu",
        cache=cache / "features",
        reporter=Reporter(),
        selector=StoredSelector(stored_epochs(record.scores)),
        claimed=stored_epochs(record.scores, "synv"),
    )
    return evaluate(inputs)


def main() -> None:
    """``python -m dpib_leaderboard.recompute FOLDER ANSWER``, in a limited process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    try:
        answer = compute(options.folder, options.scores, options.data_dir, options.answer.parent)
    except RecordError as error:
        answer = Recomputed(checks=(Check(name="scores", holds=False, detail=printable(str(error))),))
    except MemoryError:
        detail = "opening the submission takes more memory than it may"
        answer = Recomputed(checks=(Check(name="memory", holds=False, detail=detail),))
    write_text_atomically(options.answer, canonical_json(answer.model_dump(mode="json")))


if __name__ == "__main__":
    main()
