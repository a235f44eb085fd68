"""A cache of its own for ``datasets``, and a small mirror to load from."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

_own = tempfile.TemporaryDirectory(prefix="dpib-test-own-", ignore_cleanup_errors=True)
os.environ["DPIB_CACHE"] = f"{_own.name}/cache"
os.environ["DPIB_DATASETS"] = f"{_own.name}/cards"
_cache = tempfile.TemporaryDirectory(prefix="dpib-test-hf-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = _cache.name  # read once, when `datasets` is first imported

WriteShard = Callable[..., Path]


@pytest.fixture
def write_shard() -> WriteShard:
    """Write one parquet file in the layout of the Hub: images as bytes, class names in the metadata."""

    def write(
        path: Path,
        images: Sequence[np.ndarray | bytes | None],
        labels: Sequence[int],
        names: Sequence[str] = ("cat", "dog"),
        kind: str = "PNG",
    ) -> Path:
        import datasets

        cells = []
        for image in images:
            buffer = io.BytesIO(image if isinstance(image, bytes) else b"")
            if isinstance(image, np.ndarray):
                Image.fromarray(image).save(buffer, kind)
            cells.append(None if image is None else {"bytes": buffer.getvalue(), "path": None})
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict({"image": cells, "label": list(labels)}, features=features).to_parquet(str(path))
        return path

    return write


@pytest.fixture
def toy_card() -> DatasetSpec:
    """A pool of 40 grey 4x5 images, divided 30/10, and a test split of 8."""
    return DatasetSpec(
        name="toy",
        title="Toy",
        role="sensitive",
        source=HubSource(repo=None, revision=None, mirror="toy", splits={"pool": "train", "test": "test"}),
        shape=(1, 4, 5),
        classes=("cat", "dog"),
        split=SplitRule(kind="ranked-hash", n_pool=40, sizes={"train": 30, "validation": 10, "test": 8}),
        fingerprints={},
        licence="none",
        citation="none",
        homepage="none",
    )


@pytest.fixture
def toy_pixels() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {split: generator.integers(0, 256, (n, 4, 5), dtype=np.uint8) for split, n in (("train", 40), ("test", 8))}


@pytest.fixture
def toy_mirror(tmp_path: Path, toy_pixels: dict[str, np.ndarray], write_shard: WriteShard) -> Path:
    """A mirror of the toy card; its train split has two shards, its labels alternate."""
    root = tmp_path / "mirror [a] {b}"  # characters that a pattern would interpret
    write_shard(root / "toy/train-00000-of-00002.parquet", toy_pixels["train"][:24], [0, 1] * 12)
    write_shard(root / "toy/train-00001-of-00002.parquet", toy_pixels["train"][24:], [0, 1] * 8)
    write_shard(root / "toy/test-00000-of-00001.parquet", toy_pixels["test"], [0, 1] * 4)
    return root
