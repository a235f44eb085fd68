"""From private images behind mechanisms to synthetic ones: what a benchmark run and a data owner's release share."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from dpib.context import RunContext
from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import RunError
from dpib.job import Job
from dpib.privacy.private import PrivateDataset
from dpib.seeds import Seeds
from dpib.spec import TaskInfo, sha256_text
from dpib.synthesizer import Synthesizer


def balanced_labels(n_images: int, n_classes: int) -> torch.Tensor:
    """Return the labels to generate, int64 (n_images,): every class equally often, the first ones take the rest."""
    return torch.arange(n_images) % n_classes


def count_parameters(synthesizer: Synthesizer) -> int | None:
    """Return the number of parameters of all modules a method holds as attributes; None if it holds none."""
    modules = [value for value in vars(synthesizer).values() if isinstance(value, nn.Module)]
    return sum(p.numel() for module in modules for p in module.parameters()) or None


def make_images(
    job: Job,
    task: TaskInfo,
    private: PrivateDataset,
    public: PublicDataset | None,
    n_images: int,
    cache: Path,
    context: RunContext,
) -> LabelledImages:
    """Pretrain, fit and generate; state goes through ``context``, so that the same call continues.

    Args:
        job: the method and its settings.
        task: public facts of the private images.
        private: the private images behind mechanisms.
        public: public images in the task's shape, if the method shall pretrain.
        n_images: how many to generate; classes in turn.
        cache: folder for pretrained states, which depend on nothing private.
        context: device, seeds, state and progress. The number of parameters is kept as ``parameters``.

    Returns:
        uint8 (n_images, C, H, W) with their labels.

    Raises:
        RunError: if the method generates something else than images of the task's shape.
        DpibError: whatever the method or a mechanism refuses.
    """
    synthesizer = job.synthesizer(job.resolved.config, task, context)
    if public:
        _pretrain(job, synthesizer, public, cache, context)
    synthesizer.fit(private)
    context.once("parameters", lambda: count_parameters(synthesizer))
    labels = balanced_labels(n_images, task.n_classes)
    with context.reporter.task("generate"):
        images = synthesizer.generate(labels).cpu()
    if images.dtype != torch.uint8 or images.shape != (n_images, *task.shape):
        raise RunError(
            f"{job.spec.method} generated {images.dtype} {tuple(images.shape)}; expected torch.uint8 "
            f"{(n_images, *task.shape)}."
        )
    return LabelledImages(images, labels)


def _pretrain(job: Job, synthesizer: Synthesizer, public: PublicDataset, cache: Path, context: RunContext) -> None:
    """Pretrain in a folder shared by all runs that would do the same: it depends on nothing private."""
    plan = job.plan(context.device)
    basis = synthesizer.pretraining_basis()
    if basis is None:
        basis = {"method": job.spec.method, "config": plan.config, "task": synthesizer.task.canonical()}
    key = sha256_text(
        json.dumps([basis, plan.method_digest, plan.core_digest, public.data.fingerprint], sort_keys=True)
    )
    folder = cache / "pretrain" / key[:16]
    synthesizer.pretrain(public, RunContext(folder, context.device, Seeds(0), context.reporter))
