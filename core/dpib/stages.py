"""The two halves of a run. ``produce`` runs a method's code on the training side; ``score`` never needs that code.

One path for every run: ``dpib run`` calls both in one process, an isolated run (``dpib.isolation``) in two.
"""

from __future__ import annotations

from dpib.context import RunContext
from dpib.data.imagefile import save_grid, save_parquet
from dpib.data.images import LabelledImages, PublicDataset, Splits
from dpib.dataset_spec import DatasetSpec
from dpib.evaluation import evaluate
from dpib.generation import make_images
from dpib.job import Job
from dpib.metrics.base import EvalInputs
from dpib.metrics.selection import NoisySelector
from dpib.privacy.ledger import PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.records import Score
from dpib.seeds import Seeds
from dpib.spec import Track
from dpib.workspace import Workspace


def produce(
    job: Job,
    workspace: Workspace,
    train: LabelledImages,
    public: PublicDataset | None,
    ledger: PrivacyLedger,
    noise: NoiseSource,
    device: str,
    reporter: Reporter,
) -> int | None:
    """Pretrain, fit and generate, unless the images are there: the only stage that runs a method's code.

    Args:
        job: what to run.
        workspace: the run folder, open and begun.
        train: the training side; no other side is needed.
        public: public images of the task's shape.
        ledger: of the training side.
        noise: source of DP noise.
        device: torch device.
        reporter: where progress goes.

    Returns:
        The number of the method's parameters; None if it holds no modules.
    """
    task = job.dataset.task()
    context = RunContext(workspace.state, device, Seeds(job.spec.seed), reporter)
    if not workspace.images_path.exists():
        private = PrivateDataset(train, task, ledger, noise, context)
        data = make_images(job, task, private, public, job.track.n_images, workspace.cache, context)
        save_grid(workspace.grid_path, data, task.n_classes)
        save_parquet(workspace.images_path, data, task.classes)
    parameters: int | None = context.recall("parameters")
    return parameters


def score(
    workspace: Workspace,
    track: Track,
    dataset: DatasetSpec,
    splits: Splits,
    synthetic: LabelledImages,
    ledger: PrivacyLedger,
    noise: NoiseSource,
    device: str,
    reporter: Reporter,
) -> tuple[Score, ...]:
    """Score the released images; what is found in the run folder is not computed again.

    Args:
        workspace: the run folder; keeps the scores and the features.
        track: the rules.
        dataset: the card of the sensitive dataset.
        splits: its three sides.
        synthetic: what was released.
        ledger: of the validation side, which the private selection of the epoch is charged to.
        noise: source of that selection's noise.
        device: torch device.
        reporter: where progress goes.
    """
    epsilon, task = workspace.spec.epsilon, dataset.task()
    context = RunContext(workspace.state, device, Seeds(workspace.spec.seed), reporter)
    validation = PrivateDataset(splits.validation, task, ledger, noise, context)
    inputs = EvalInputs(
        synthetic=synthetic,
        splits=splits,
        task=task,
        track=track,
        device=device,
        cache=workspace.cache / "features",
        reporter=reporter,
        selector=NoisySelector(validation, epsilon, len(track.classifiers_for(dataset.name))),
        tables=workspace.tables,
    )
    return evaluate(inputs, (workspace.scores, workspace.store_scores))
