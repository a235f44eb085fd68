"""The two halves of a run. ``produce`` runs a method's code on the training side; ``score`` never needs that code.

One path for every run: ``dpib run`` calls both in one process, an isolated run (``dpib.isolation``) in two.
"""

from __future__ import annotations

import torch
from torch import nn

from dpib.context import RunContext
from dpib.data.imagefile import save_grid, save_parquet
from dpib.data.images import LabelledImages, PublicDataset, Splits
from dpib.errors import RunError
from dpib.evaluation import evaluate
from dpib.job import Job
from dpib.metrics.base import EvalInputs
from dpib.metrics.selection import NoisySelector
from dpib.privacy.ledger import PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.records import Score
from dpib.seeds import Seeds
from dpib.spec import DatasetSpec, Track, sha256_text
from dpib.synthesizer import Synthesizer
from dpib.workspace import Workspace


def balanced_labels(n_images: int, n_classes: int) -> torch.Tensor:
    """Return the labels to generate, int64 (n_images,): every class equally often, the first ones take the rest."""
    return torch.arange(n_images) % n_classes


def _pretrain(
    job: Job, synthesizer: Synthesizer, public: PublicDataset, workspace: Workspace, context: RunContext
) -> None:
    """Pretrain in a folder shared by all runs that would do the same: it depends on nothing private."""
    plan = job.plan(context.device)
    key = sha256_text(
        repr((job.spec.method, plan.config, plan.method_digest, plan.core_digest, public.data.fingerprint))
    )
    folder = workspace.cache / "pretrain" / job.spec.method / key[:16]
    synthesizer.pretrain(public, RunContext(folder, context.device, Seeds(0), context.reporter))


def _generate(job: Job, synthesizer: Synthesizer, workspace: Workspace, reporter: Reporter) -> None:
    """Generate, check and store the synthetic set."""
    labels = balanced_labels(job.track.n_images, len(job.dataset.classes))
    with reporter.task("generate"):
        images = synthesizer.generate(labels).cpu()
        if images.dtype != torch.uint8 or images.shape != (len(labels), *job.dataset.shape):
            raise RunError(
                f"{job.spec.method} generated {images.dtype} {tuple(images.shape)}; expected torch.uint8 "
                f"{(len(labels), *job.dataset.shape)}."
            )
        data = LabelledImages(images, labels)
        save_grid(workspace.grid_path, data, len(job.dataset.classes))
        save_parquet(workspace.images_path, data, job.dataset.classes)


def count_parameters(synthesizer: Synthesizer) -> int | None:
    """Return the number of parameters of all modules a method holds as attributes; None if it holds none."""
    modules = [value for value in vars(synthesizer).values() if isinstance(value, nn.Module)]
    return sum(p.numel() for module in modules for p in module.parameters()) or None


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
    context = RunContext(workspace.state, device, Seeds(job.spec.seed), reporter)
    synthesizer = job.synthesizer(job.resolved.config, job.dataset.task(), context)
    if not workspace.images_path.exists():
        if public:
            _pretrain(job, synthesizer, public, workspace, context)
        synthesizer.fit(PrivateDataset(train, job.dataset.task(), ledger, noise, context))
        context.once("parameters", lambda: count_parameters(synthesizer))
        _generate(job, synthesizer, workspace, reporter)
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
        selector=NoisySelector(validation, epsilon, len(track.classifiers)),
    )
    return evaluate(inputs, (workspace.scores, workspace.store_scores))
