"""A tiny sensitive dataset and the real harness around a method: what ``check`` and ``audit`` run, often.

8×8 grey images in four classes, the last of which is empty unless a neighbour brings a record of it. A method runs
with its ``demo`` preset, and with its variant ``tiny`` over that if its preset file has one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dpib import config
from dpib.catalogue import InstalledMethod
from dpib.context import RunContext
from dpib.data.images import LabelledImages, PublicDataset
from dpib.dataset_spec import BundledSource, DatasetSpec, SplitRule
from dpib.errors import UnknownName
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter
from dpib.seeds import Seeds
from dpib.spec import RunSpec, TaskInfo, delta_for
from dpib.synthesizer import MethodConfig, Synthesizer

__all__ = ["BASE_SIZES", "SPARSE_SIZES", "TASK", "TinyRun", "run_tiny", "tiny_config", "tiny_images", "tiny_public"]

TASK = TaskInfo(dataset="digits", shape=(1, 8, 8), classes=("one", "two", "three", "empty"), nominal_size=180)
"""Public facts of the tiny dataset; it borrows the presets of ``digits``."""

BASE_SIZES = (60, 60, 60, 0)
"""Records per class of the base set, whose last class is empty: the strongest set for class-conditional methods."""

SPARSE_SIZES = (20, 20, 20, 20)
"""Records per class of the second base set."""

VARIANT = "tiny"


def tiny_images(sizes: Sequence[int] = BASE_SIZES, seed: int = 0) -> LabelledImages:
    """Return seeded images: a pattern per class with small shifts of brightness and noise.

    Args:
        sizes: number of records per class of ``TASK``.
        seed: of patterns and noise.

    Returns:
        uint8 (sum of sizes, 1, 8, 8), by class.
    """
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand((TASK.n_classes, *TASK.shape), generator=generator).round() * 160 + 40
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = 15 * torch.randn((len(labels), *TASK.shape), generator=generator)
    return LabelledImages((patterns[labels] + noise).clamp(0, 255).round().to(torch.uint8), labels)


def tiny_public() -> PublicDataset:
    """Return public images of the same shape, for methods that pretrain."""
    data = tiny_images(SPARSE_SIZES, seed=1)
    card = DatasetSpec(
        name="tiny-public",
        title="Tiny public images",
        role="public",
        source=BundledSource(),
        shape=TASK.shape,
        classes=TASK.classes,
        split=SplitRule(kind="all-train", n_pool=len(data), sizes={"train": len(data)}),
        fingerprints={},
        licence="Apache-2.0",
        citation="",
        homepage="",
    )
    return PublicDataset(card, data, data.labels)


def tiny_config(method: InstalledMethod, epsilon: float = 10.0) -> MethodConfig:
    """Return the settings a method runs with here; see the module."""
    spec = RunSpec(method=method.card.name, dataset=TASK.dataset, epsilon=epsilon, track="demo-v1", variant=VARIANT)
    settings = method.load().Config
    try:
        return config.resolve(method.method, settings, spec).config
    except UnknownName:
        return config.resolve(method.method, settings, spec.model_copy(update={"variant": None})).config


@dataclass(frozen=True)
class TinyRun:
    """One run on a tiny dataset.

    Attributes:
        synthesizer: after ``fit``.
        released: the images it generated, classes in turn.
        ledger: of the training side.
        noise: the source that was used.
    """

    synthesizer: Synthesizer
    released: LabelledImages
    ledger: PrivacyLedger
    noise: NoiseSource


@lru_cache(maxsize=1)
def _public() -> PublicDataset:
    return tiny_public()


def run_tiny(
    method: InstalledMethod,
    data: LabelledImages,
    *,
    epsilon: float = 10.0,
    settings: MethodConfig | None = None,
    seed: int = 0,
    noise: NoiseSource | None = None,
    n_images: int = 40,
    folder: Path | None = None,
    reporter: Reporter | None = None,
) -> TinyRun:
    """Fit a method to private images through the real mechanisms and generate.

    Args:
        method: from ``dpib.catalogue.method``.
        data: images as ``tiny_images`` gives them.
        epsilon: budget at δ = 1/(N₀ ln N₀) of ``TASK``; non-private references have none.
        settings: by default ``tiny_config``.
        seed: public seed.
        noise: source of DP noise; fresh entropy by default. Tests and games may choose it.
        n_images: images to generate.
        folder: keeps state and ledger, so that the same folder continues; by default a temporary one.
        reporter: where progress goes; by default nowhere.

    Raises:
        DpibError: whatever the method or a mechanism refuses.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="dpib-tiny-") as scratch:
            return run_tiny(
                method,
                data,
                epsilon=epsilon,
                settings=settings,
                seed=seed,
                noise=noise,
                n_images=n_images,
                folder=Path(scratch),
                reporter=reporter,
            )
    folder.mkdir(parents=True, exist_ok=True)
    noise = noise or NoiseSource.from_os()
    budget = Budget(epsilon=epsilon if method.card.private else None, delta=delta_for(TASK.nominal_size))
    ledger = PrivacyLedger(LedgerFile(folder / "ledger.jsonl"), "train", budget, "tiny")
    reporter = reporter or Reporter()
    context = RunContext(folder / "state", "cpu", Seeds(seed), reporter)
    synthesizer = method.load()(settings or tiny_config(method, epsilon), TASK, context)
    if method.card.public_data == "required":
        synthesizer.pretrain(_public(), RunContext(folder / "public", "cpu", Seeds(0), reporter))
    synthesizer.fit(PrivateDataset(data, TASK, ledger, noise, context))
    labels = torch.arange(n_images) % TASK.n_classes
    images: Tensor = synthesizer.generate(labels).cpu()
    return TinyRun(synthesizer, LabelledImages(images, labels), ledger, noise)
