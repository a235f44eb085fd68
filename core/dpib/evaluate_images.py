"""Scores of images that did not come from a run, or of a run's images once more."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from dpib import catalogue
from dpib.context import RunContext
from dpib.data.load import load_splits, locate
from dpib.data.readers import read_images
from dpib.errors import ConfigError
from dpib.evaluation import evaluate, is_settled
from dpib.files import exclusive, write_text_atomically
from dpib.machine import choose_device
from dpib.metrics.base import EpochSelector, EvalInputs
from dpib.metrics.selection import NoisySelector, StoredSelector
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import forget_noise, noise_of_folder
from dpib.privacy.private import PrivateDataset
from dpib.progress import terminal_reporter
from dpib.records import RunRecord, Score, load_record
from dpib.seeds import Seeds
from dpib.verify import stored_epochs

RECORD = "record.json"
DEFAULT_TRACK = "lite"


def evaluate_images(
    path: Path,
    dataset: str | None = None,
    *,
    track: str | None = None,
    epsilon: float | None = None,
    metrics: Sequence[str] | None = None,
    out: Path = Path("evals"),
    data_dir: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> tuple[tuple[Score, ...], Path]:
    """Score labelled images with a track's metrics.

    Args:
        path: see ``dpib.data.readers.read_images``; or the folder of a finished run, whose images are scored anew.
        dataset: the sensitive dataset they stand for; of a run, its own by default.
        track: whose rules; ``lite`` by default, of a run its own.
        epsilon: budget of the private choice of epochs on the validation side, entered in ``ledger.jsonl``; None:
            no such choice is made. A run made its choice: its stored epochs are read, nothing selects again.
        metrics: compute these instead of the track's.
        out: root of the folders for results.
        data_dir: folder of data mirrors.
        device: torch device, or ``"auto"``.
        quiet: draw no progress.

    Returns:
        The scores, and the folder they are kept in, one file per metric. What is found there for the same images,
        track and ε is returned as it is: a private choice is made once. An undefined score is computed again.

    Raises:
        ConfigError: if ε or a name is wrong.
        DataError: if the images do not fit the dataset.
        RecordError: if a run's record is damaged.
    """
    if epsilon is not None and not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigError(f"Expected a finite ε above 0, got {epsilon}.")
    record = load_record(path / RECORD) if (path / RECORD).is_file() else None
    if record is not None and epsilon is not None:
        raise ConfigError(f"{path} is a run: its epochs were chosen when it ran. Leave out --epsilon.")
    dataset = dataset or (record.task.spec.dataset if record else None)
    if dataset is None:
        raise ConfigError(f"{path} is no finished run. Say with --dataset which dataset the images stand for.")
    track = track or (record.task.spec.track if record else DEFAULT_TRACK)
    rules, card = catalogue.track(track), catalogue.dataset(dataset)
    wanted = rules.metrics if metrics is None else tuple(catalogue.metric(name).card.name for name in metrics)
    locate(card, data_dir)
    task = card.task()
    synthetic = read_images(path / record.synthetic.file if record else path, task)
    choice = _choice(record, epsilon)
    folder = out / rules.name / card.name / f"{synthetic.fingerprint[:16]}-{choice}"
    store = _ScoreFolder(folder / "scores")
    stored = [store.read(name) for name in wanted]
    selects = record is not None or epsilon is not None
    if metrics is not None or not rules.optional_metrics:
        found = [scores for scores in stored if scores is not None and is_settled(scores, selects)]
        if len(found) == len(wanted):
            scores = tuple(score for group in found for score in group)
            if any(score.protocol == "noisy-senv" for score in scores):
                forget_noise(folder)  # a process that was killed after its last score has left it
            return scores, folder
    device = choose_device(device)
    with exclusive(folder), terminal_reporter(quiet) as reporter:
        if absent := sorted(set(range(task.n_classes)) - set(synthetic.labels.unique().tolist())):
            names = ", ".join(task.classes[label] for label in absent[:12])
            reporter.note(f"{path}: no images of {len(absent)} of {task.n_classes} classes ({names}); scored as it is.")
        splits = load_splits(card, data_dir)
        selector: EpochSelector | None = None
        if record is not None:
            selector = StoredSelector(stored_epochs(record.scores))
        elif epsilon is not None:
            noise, session = noise_of_folder(folder)
            budget = Budget(epsilon=epsilon, delta=card.delta)
            ledger = PrivacyLedger(LedgerFile(folder / "ledger.jsonl"), "validation", budget, session)
            context = RunContext(folder / "state", device, Seeds(0), reporter)
            validation = PrivateDataset(splits.validation, task, ledger, noise, context)
            selector = NoisySelector(validation, epsilon, len(rules.classifiers_for(card.name)))
        inputs = EvalInputs(
            synthetic=synthetic,
            splits=splits,
            task=task,
            track=rules,
            device=device,
            cache=out / ".cache" / "features",
            reporter=reporter,
            selector=selector,
            tables=folder / "tables",
        )
        scores = evaluate(inputs, (store.read, store.write), metrics)
        forget_noise(folder)
    return scores, folder


def _choice(record: RunRecord | None, epsilon: float | None) -> str:
    if record is not None:
        return f"run-{record.id[:8]}"
    return "no-selection" if epsilon is None else f"eps{epsilon:g}"


class _ScoreFolder:
    """One JSON file per metric."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, metric: str) -> tuple[Score, ...] | None:
        path = self._folder / f"{metric}.json"
        return tuple(Score.from_plain(item) for item in json.loads(path.read_text())) if path.exists() else None

    def write(self, metric: str, scores: tuple[Score, ...]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = [score.model_dump(mode="json") for score in scores]
        write_text_atomically(self._folder / f"{metric}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
