"""Features of image sets, computed once per set and kept on disk; and which images fidelity metrics compare.

A feature file of real images is as sensitive as the images: it is readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpib.data.images import LabelledImages
from dpib.errors import StorageError
from dpib.metrics.base import EvalInputs
from dpib.metrics.extractors import FeatureExtractor, build_extractor
from dpib.progress import Reporter
from dpib.spec import FeatureSpec

Features = NDArray[np.float32]
"""float32 (N, D), memory-mapped and read-only."""

EXTRACT_BATCH = 16
"""Images per forward pass; small batches stay in the processor's cache."""
SUBSET_KEY = 20251
DIGEST_BYTES = 32


@dataclass(frozen=True)
class ComparedFeatures:
    """Features of the real and the synthetic images that a track compares, and what computed them."""

    real: Features
    synthetic: Features
    evaluator: str


def pinned_subset(n_total: int, n_wanted: int | None) -> Tensor:
    """Return which images are compared: the first ``n_wanted`` of a pinned permutation, the same everywhere.

    Args:
        n_total: how many images there are, in their fixed order.
        n_wanted: how many are compared; all of them if None or if there are fewer.

    Returns:
        int64 (min(n_wanted, n_total),) indices.
    """
    draws = np.random.Philox(key=SUBSET_KEY).random_raw(n_total)
    return torch.from_numpy(np.argsort(draws, kind="stable")[:n_wanted])


def too_few_images(inputs: EvalInputs, features: FeatureSpec, at_least: int) -> str | None:
    """Return why the images do not suffice, or None.

    Fewer synthetic images than the track compares give a biased score, so they do not suffice.
    """
    needed = max(features.n_synthetic or 0, at_least)
    if len(inputs.synthetic) < needed:
        return f"At least {needed} synthetic images are needed, got {len(inputs.synthetic)}."
    if len(inputs.splits.train) < at_least:
        return f"At least {at_least} real training images are needed, got {len(inputs.splits.train)}."
    return None


def compared_features(inputs: EvalInputs, features: FeatureSpec) -> ComparedFeatures:
    """Return the features of the pinned subsets of real training images and of synthetic images.

    Raises:
        MetricError: if the extractor's weights are missing or damaged.
        StorageError: if the cache cannot be written.
    """
    extractor = build_extractor(features.extractor, features.input_size, inputs.device)
    train, synthetic = inputs.splits.train, inputs.synthetic
    reference = train[pinned_subset(len(train), features.n_reference)]
    compared = synthetic[pinned_subset(len(synthetic), features.n_synthetic)]
    return ComparedFeatures(
        real=cached_features(reference, extractor, inputs.cache, inputs.reporter, "real images"),
        synthetic=cached_features(compared, extractor, inputs.cache, inputs.reporter, "synthetic images"),
        evaluator=f"{extractor.name} at {extractor.input_size} px, weights sha256:{extractor.digest}, "
        f"{len(reference)} real training images",
    )


def cached_features(
    data: LabelledImages, extractor: FeatureExtractor, cache: Path, reporter: Reporter, what: str
) -> Features:
    """Return the features of these images, from the cache if they are there and undamaged.

    The file is a ``.npy`` with the SHA-256 of its numbers appended; anything that is not exactly what this
    function writes is computed again. Memory stays bounded by one batch.

    Args:
        data: uint8 images (N, C, H, W); their labels only take part in the identity of the set.
        extractor: computes the features.
        cache: folder; created if missing.
        reporter: told how many images are done.
        what: names the images in progress reports.

    Raises:
        StorageError: if the file cannot be written.
    """
    identity = "/".join((data.fingerprint, extractor.name, extractor.digest, str(extractor.input_size)))
    path = cache / f"{extractor.name}-{extractor.input_size}px-{hashlib.sha256(identity.encode()).hexdigest()}.npy"
    shape = (len(data), extractor.dim)
    stored = _read(path, shape)
    if stored is None:
        try:
            _write(path, shape, data, extractor, reporter, what)
        except OSError as error:
            raise StorageError(f"Cannot store features at {path}: {error.strerror}.") from error
        stored = _map(path, shape)
    return stored


def _header(shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _map(path: Path, shape: tuple[int, int]) -> Features:
    return np.memmap(path, dtype="<f4", mode="r", offset=len(_header(shape)), shape=shape)


def _read(path: Path, shape: tuple[int, int]) -> Features | None:
    """Return the stored features, or None unless header, size and digest are exactly right."""
    header = _header(shape)
    size = len(header) + 4 * shape[0] * shape[1] + DIGEST_BYTES
    if not path.is_file() or path.stat().st_size != size:
        return None
    with path.open("rb") as file:
        start = file.read(len(header))
        file.seek(-DIGEST_BYTES, os.SEEK_END)
        digest = file.read()
    features = _map(path, shape)
    return features if start == header and hashlib.sha256(features.data).digest() == digest else None


def _write(
    path: Path, shape: tuple[int, int], data: LabelledImages, extractor: FeatureExtractor, reporter: Reporter, what: str
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as file, reporter.task(f"features of {what}", total=len(data)) as task:
            file.write(_header(shape))
            for batch in data.images.split(EXTRACT_BATCH):
                content = extractor(batch).numpy().astype("<f4").tobytes()
                digest.update(content)
                file.write(content)
                task.advance(len(batch))
            file.write(digest.digest())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
