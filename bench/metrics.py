"""Measures what ``docs/metrics.md`` states: ``python bench/metrics.py scale|rate|orderings|selection``.

Each prints one line per measurement. Set OMP_NUM_THREADS=1 to measure one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dpib import catalogue
from dpib.data.images import LabelledImages
from dpib.data.load import load_splits
from dpib.metrics import precision_recall as overlap
from dpib.metrics.extractors import EffNetLite0, resize
from dpib.metrics.features import cached_features, pinned_subset
from dpib.metrics.fld import feature_likelihood_divergence
from dpib.metrics.frechet import frechet_distance, mean_and_covariance
from dpib.metrics.inception import Inception, fid_network
from dpib.metrics.inception_score import inception_score
from dpib.metrics.stored import Rows, write_rows
from dpib.metrics.training import train_classifier
from dpib.progress import Reporter
from dpib.spec import ClassifierSpec
from dpib.tracks.lite import TRACK as LITE

WIDTH = 2048


def _features(folder: Path, name: str, n_rows: int, seed: int) -> Rows:
    """Return rectified Gaussian features of falling variance on disk."""
    rng = np.random.default_rng(seed)
    scale = (1 / np.sqrt(np.arange(1, WIDTH + 1))).astype(np.float32)

    def chunks() -> object:
        for start in range(0, n_rows, 1000):
            drawn = rng.standard_normal((min(1000, n_rows - start), WIDTH), dtype=np.float32)
            yield np.maximum(drawn * scale + 0.1 * scale, 0)

    return write_rows(folder / f"{name}.npy", (n_rows, WIDTH), chunks())  # type: ignore[arg-type]


def _peak() -> float:
    """Return the peak resident memory of this process in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def _in_process(name: str, rows: int, work: Callable[[], object]) -> None:
    """Run in a process of its own and print seconds, of the clock and of the processor, and peak memory."""

    def measured() -> None:
        began, began_cpu = time.perf_counter(), time.process_time()
        work()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
        print(f"{name} rows={rows} {seconds=:.1f} {cpu_seconds=:.1f} peak_gib={_peak():.2f}", flush=True)

    process = multiprocessing.get_context("fork").Process(target=measured)
    process.start()
    process.join()


def scale(n_rows: int, only: list[str]) -> None:
    """Score random features of width 2,048."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train, synthetic = (_features(folder, name, n_rows, seed) for seed, name in enumerate(("train", "synthetic")))
        test = _features(folder, "test", 10_000, 2)
        layer = torch.randn(1008, WIDTH), torch.zeros(1008)
        works: dict[str, Callable[[], object]] = {
            "frechet": lambda: frechet_distance(*mean_and_covariance(train), *mean_and_covariance(synthetic)),
            "inception-score": lambda: inception_score(synthetic, *layer),
            "overlap": lambda: overlap.manifold_overlap(train, synthetic, 3),
            "fld": lambda: feature_likelihood_divergence(train, test, synthetic, folder),
        }
        for name in only or works:
            _in_process(name, n_rows, works[name])


class _UntrainedInception(Inception):
    """Inception with random weights: as fast as the real one."""

    def __init__(self) -> None:
        self.input_size, self.batch, self._device = 299, 16, "cpu"
        network = fid_network()
        network.fc = torch.nn.Identity()
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def rate() -> None:
    """Compare extraction, from stored uint8 images to a verified file, with the network alone; best of three."""
    for extractor, n_images in ((EffNetLite0(112, "cpu"), 320), (_UntrainedInception(), 64)):
        images = torch.randint(0, 256, (n_images, 3, 32, 32), dtype=torch.uint8)
        data = LabelledImages(images, torch.zeros(n_images, dtype=torch.int64))
        inputs = resize(images, extractor.input_size).float().contiguous(memory_format=torch.channels_last)
        whole, network = [], []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as scratch:
                began = time.process_time()
                cached_features(data, extractor, Path(scratch), Reporter(), "images")
                whole.append(time.process_time() - began)
            began = time.process_time()
            with torch.no_grad():
                for batch in inputs.split(extractor.batch):
                    net = extractor._network
                    net.extract_features(batch) if isinstance(extractor, EffNetLite0) else net(batch)
            network.append(time.process_time() - began)
        share = min(network) / min(whole)
        print(f"{extractor.name} {n_images / min(whole):.1f} images/s, {share:.1%} of the network's rate", flush=True)


def orderings(n_images: int) -> None:
    """Score train, test and noise against train, by the features of EfficientNet-Lite0."""
    extractor = EffNetLite0(112, "cpu")
    for name in ("mnist", "eurosat"):
        splits = load_splits(catalogue.dataset(name), None)
        order = pinned_subset(len(splits.train), 2 * n_images)  # some sources are sorted by class
        real, again = splits.train[order[:n_images]], splits.train[order[n_images:]]
        test = splits.test[pinned_subset(len(splits.test), n_images)]
        noise = torch.randint(0, 256, real.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        sets = {"train": real, "other train": again, "test": test, "noise": LabelledImages(noise, real.labels)}
        with tempfile.TemporaryDirectory() as scratch:
            found = {
                key: cached_features(data, extractor, Path(scratch), Reporter(), key) for key, data in sets.items()
            }
            held_out = found["test"]
            for key, synthetic in found.items():
                fd = frechet_distance(*mean_and_covariance(found["train"]), *mean_and_covariance(synthetic))
                lap = overlap.manifold_overlap(found["train"], synthetic, 3)
                fld = feature_likelihood_divergence(found["train"], held_out, synthetic, Path(scratch))
                print(
                    f"{name} n={n_images} train vs {key}: fd={fd:.2f} precision={lap.precision:.3f} "
                    f"recall={lap.recall:.3f} density={lap.density:.3f} coverage={lap.coverage:.3f} "
                    f"fld={fld.test:.2f} fld-train={fld.train:.2f}",
                    flush=True,
                )


class _Counts:
    """Counts correct predictions on the validation images of every epoch, exactly: only for a measurement."""

    def __init__(self, images: LabelledImages) -> None:
        self._data, self.counts = images, []  # type: ignore[var-annotated]

    def open(self, classifier: str, n_epochs: int) -> _Counts:
        return self

    def observe(self, predict: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.counts.append(int((predict(self._data.images) == self._data.labels).sum()))

    def chosen(self) -> int:
        return int(np.argmax(self.counts))


def selection(n_images: int) -> None:
    """Compare noisy with exact choices of an epoch on MNIST's validation side, trained on spoilt training images."""
    splits = load_splits(catalogue.dataset("mnist"), None)
    data, generator = splits.train[:n_images], torch.Generator().manual_seed(0)
    noise = torch.randn(data.images.shape, generator=generator) * 120
    spoilt = LabelledImages((data.images + noise).clamp(0, 255).to(torch.uint8), data.labels)
    spec: ClassifierSpec = LITE.classifiers[0]
    counts = _Counts(splits.validation)
    options = {"n_classes": 10, "seed": 0, "device": "cpu", "reporter": Reporter(), "selector": counts}
    curve, _ = train_classifier(spec, spoilt, splits.test, **options)  # type: ignore[arg-type]
    test, seen = 100 * np.array(curve.test) / len(splits.test), np.array(counts.counts)
    print(f"test accuracy by epoch: {np.round(test, 2).tolist()}; validation counts: {seen.tolist()}")
    draws = np.random.default_rng(0).exponential(size=(200_000, len(seen)))
    for epsilon, n_classifiers in ((0.2, 1), (1, 1), (1, 3), (10, 1), (10, 3)):
        chosen = (seen + draws * n_classifiers / epsilon).argmax(axis=1)
        cost = test[seen.argmax()] - test[chosen].mean()
        print(
            f"eps={epsilon:g} over {n_classifiers} classifiers: noise costs {cost:.4f} points of test accuracy, "
            f"{(seen.max() - seen[chosen].mean()) / len(splits.validation) * 100:.4f} of validation accuracy"
        )


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["scale", "rate", "orderings", "selection"])
    parser.add_argument("--rows", type=int, default=60_000, help="scale: features per set")
    parser.add_argument("--only", nargs="*", default=[], help="scale: which metrics")
    parser.add_argument("--images", type=int, default=1_000, help="orderings, selection: images per set")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.what == "scale":
        scale(options.rows, options.only)
    elif options.what == "rate":
        rate()
    elif options.what == "orderings":
        orderings(options.images)
    else:
        selection(options.images)


if __name__ == "__main__":
    main()
