"""Everything a run learns, in its order: preludes, public pretraining, warm-ups, and the method's private stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from dpib.context import RunContext
from dpib.data.images import LabelledImages, PublicDataset
from dpib.data.public import draw_share
from dpib.errors import RunError
from dpib.files import taking_turns
from dpib.job import Job, JobPrelude
from dpib.machine import core_digest
from dpib.prelude import Anchor
from dpib.privacy.private import PrivateDataset
from dpib.progress import PRETRAIN_STAGE, WAIT_STAGE
from dpib.seeds import Seeds
from dpib.spec import SHARE, sha256_text
from dpib.synthesizer import Synthesizer

Shared = Callable[[str], AbstractContextManager[RunContext]]
"""Returns the context of a public stage, by everything that it depends on; inside it nobody else is at that stage."""


def shared_in(cache: Path, context: RunContext) -> Shared:
    """Return contexts in a folder that runs share: what they keep depends on nothing private and on no run's seed.

    Of several processes one makes what they share; the others wait and then find it made.
    """
    reporter = context.reporter

    @contextmanager
    def waiting() -> Iterator[None]:
        reporter.note("Waiting for another run that makes the same pretraining.")
        with reporter.task(WAIT_STAGE):
            yield

    @contextmanager
    def make(depends_on: str) -> Iterator[RunContext]:
        folder = cache / "pretrain" / sha256_text(depends_on)[:16]
        with taking_turns(folder, waiting):
            remedy = f"Runs share it: delete {folder}, and the next run makes it again."
            yield RunContext(folder, context.device, Seeds(0), reporter, remedy)

    return make


def learn(
    job: Job,
    synthesizer: Synthesizer,
    private: PrivateDataset,
    public: PublicDataset | None,
    context: RunContext,
    shared: Shared,
) -> None:
    """Run the preludes at their anchors, and the method between them.

    Images that a private query chose are pretrained on in the run's own state: the weights depend on a release that
    this run paid for. Without such a query pretraining is shared.

    Args:
        job: the method, its preludes and their settings.
        synthesizer: an instance of the method.
        private: the private images behind mechanisms.
        public: all public images in the task's shape, if the run uses any.
        context: of the run.
        shared: where public stages keep their state.

    Raises:
        DpibError: whatever a prelude, the method or a mechanism refuses.
    """

    def released(anchor: Anchor) -> list[tuple[str, PublicDataset]]:
        preludes = [one for one in job.preludes if one.card.anchor == anchor]
        return [(one.card.name, _run(one, private, public, context, shared)) for one in preludes]

    selected = next((images for _, images in released("before-pretraining")), None)
    images = _with_share(job, public, selected, private.task.n_classes, context)
    if images is not None and selected is None:
        pretrain_once(job, synthesizer, images, context, shared)
    elif images is not None:
        synthesizer.pretrain(images, context.within("pretrain"))
    for name, warm in released("before-fine-tuning"):
        synthesizer.warm_up(warm, context.within(f"warm up {name}"))
    synthesizer.fit(private)


def pretrain_once(
    job: Job, synthesizer: Synthesizer, images: PublicDataset, context: RunContext, shared: Shared
) -> None:
    """Pretrain on images that depend on nothing private, where every run finds it that would do the same."""
    depends_on = _dependence(job.pretraining_basis(), job.method.source_digest, images)
    with shared(depends_on) as place, context.reporter.task(PRETRAIN_STAGE):
        synthesizer.pretrain(images, place)


def _run(
    one: JobPrelude, private: PrivateDataset, public: PublicDataset | None, context: RunContext, shared: Shared
) -> PublicDataset:
    """Prepare a prelude on public images, then make its query; what it returns belongs to the run."""
    name, task = one.card.name, private.task
    prelude = one.implementation(one.resolved.config, task, context.within(f"prelude {name}"))
    if public is not None:
        basis = prelude.preparation_basis()
        if basis is None:
            settings = one.resolved.config.model_dump(mode="json")
            basis = {"prelude": name, "config": settings, "task": task.canonical()}
        depends_on = _dependence(basis, one.installed.source_digest, public)
        with shared(depends_on) as place, context.reporter.task(PRETRAIN_STAGE):
            prelude.prepare(public, place)
    images = prelude.run(private, public)
    images.data.check_against(task.shape, task.n_classes, f"Images of {name}")
    if not len(images.data):
        raise RunError(f"The prelude {name} returned no image.")
    return images


def _with_share(
    job: Job, public: PublicDataset | None, selected: PublicDataset | None, n_classes: int, context: RunContext
) -> PublicDataset | None:
    """Return the images to pretrain on: the selected ones or all, or a share drawn at random, perhaps with those."""
    images = public if selected is None else selected
    if public is not None and job.spec.draws:
        generator = context.seeds.torch("random public classes")
        images = draw_share(public, n_classes, SHARE, generator, selected)
    if images is not None and job.spec.pretrain == "unconditional":
        labels = torch.zeros_like(images.data.labels)
        images = PublicDataset(images.spec, LabelledImages(images.data.images, labels), images.categories)
    return images


def _dependence(basis: Mapping[str, Any], source_digest: str, public: PublicDataset) -> str:
    """Return everything that a public stage depends on: its settings, the code, the images with both their labels.

    The number of public classes is part of it, for a class may have no image.
    """
    categories = b"" if public.categories is None else public.categories.contiguous().numpy().tobytes()
    n_categories = 0 if public.spec is None else len(public.spec.classes)
    seen = [public.data.fingerprint, hashlib.sha256(categories).hexdigest(), n_categories]
    return json.dumps([basis, source_digest, core_digest(), *seen], sort_keys=True)
