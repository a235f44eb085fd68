"""From private images behind mechanisms to synthetic ones: what a benchmark run and a data owner's release share."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dpib.context import RunContext
from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import DpibError, RunError
from dpib.job import Job
from dpib.learning import learn, shared_in
from dpib.privacy.private import PrivateDataset
from dpib.spec import TaskInfo
from dpib.synthesizer import Synthesizer


def balanced_labels(n_images: int, n_classes: int) -> torch.Tensor:
    """Return the labels to generate, int64 (n_images,): every class equally often, the first ones take the rest."""
    return torch.arange(n_images) % n_classes


def count_parameters(synthesizer: Synthesizer) -> int | None:
    """Return the number of parameters of all modules a method holds as attributes; None if it holds none."""
    modules = [value for value in vars(synthesizer).values() if isinstance(value, nn.Module)]
    return sum(p.numel() for module in modules for p in module.parameters()) or None


@contextmanager
def _named_failures(job: Job) -> Iterator[None]:
    """Turn what the code of a method raises by mistake into one message with the line of that code.

    Raises:
        RunError: caused by the mistake.
        OSError, MemoryError: as they came; a full disk or memory is no mistake of a method.
    """
    try:
        yield
    except (DpibError, OSError, MemoryError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        source = inspect.getfile(job.synthesizer)
        place = next((frame for frame in reversed(frames) if frame.filename == source), frames[-1])
        raise RunError(
            f"{job.spec.method} failed: {type(error).__name__}: {' '.join(str(error).split())} ({place.filename}, line "
            f"{place.lineno}). DPIB_TRACEBACK=1 shows the whole traceback."
        ) from error


def make_images(
    job: Job,
    task: TaskInfo,
    private: PrivateDataset,
    public: PublicDataset | None,
    n_images: int,
    cache: Path,
    context: RunContext,
) -> LabelledImages:
    """Learn (``dpib.learning``) and generate; state goes through ``context``, so that the same call continues.

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
        RunError: if the code of the method fails, or generates something else than one image of the task's shape
            for every label.
        DpibError: whatever the method or a mechanism refuses.
    """
    labels = balanced_labels(n_images, task.n_classes)
    with _named_failures(job):
        synthesizer = job.synthesizer(job.resolved.config, task, context)
        learn(job, synthesizer, private, public, context, shared_in(cache, context))
        context.once("parameters", lambda: count_parameters(synthesizer))
        with context.reporter.task("generate"):
            images = synthesizer.generate(labels).cpu()
    if images.dtype != torch.uint8 or images.shape != (n_images, *task.shape):
        raise RunError(
            f"{job.spec.method} generated {images.dtype} {tuple(images.shape)}; expected torch.uint8 "
            f"{(n_images, *task.shape)}: one image per label, pixels in 0..255."
        )
    return LabelledImages(images, labels)
