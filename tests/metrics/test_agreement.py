"""Metrics against the packages of others, which the ``dev`` extra brings; skipped where they are not installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dpib.metrics.frechet import frechet_distance, mean_and_covariance
from dpib.metrics.inception_score import inception_score
from dpib.metrics.per_class import calibration_error, confusion_matrix
from dpib.metrics.precision_recall import manifold_overlap

REASON = "pip install 'dpib[dev]'"


class AsTheyAre(torch.nn.Module):
    """Takes features for images: the metrics of torchmetrics then see the numbers that ours see."""

    num_features = 16

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.float()


def features(seed: int, n: int, shift: float = 0.0, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n, dim)) * rng.uniform(0.2, 2, dim) + shift, 0).astype(np.float32)


def probabilities(seed: int, n: int = 2_000, n_classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, n_classes)) * rng.uniform(0.1, 6, (n, 1))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return rng.integers(0, n_classes, n), p.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_is_torchmetrics(seed):
    fid = pytest.importorskip("torchmetrics.image.fid", reason=REASON)
    real, synthetic = features(seed, 700), features(seed + 10, 500, 0.3)
    theirs = fid.FrechetInceptionDistance(feature=AsTheyAre(), input_img_size=(16,)).set_dtype(torch.float64)
    for start in range(0, 700, 250):
        theirs.update(torch.from_numpy(real[start : start + 250]), real=True)
    theirs.update(torch.from_numpy(synthetic), real=False)
    ours = frechet_distance(*mean_and_covariance(real), *mean_and_covariance(synthetic))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)


@pytest.mark.parametrize("n", [40, 3_000])
def test_inception_score_is_torchmetrics_and_torch_fidelitys(n):
    inception = pytest.importorskip("torchmetrics.image.inception", reason=REASON)
    fidelity = pytest.importorskip("torch_fidelity.metric_isc", reason=REASON)
    rng = torch.Generator().manual_seed(n)
    rows = torch.from_numpy(features(1, n))
    weight, bias = torch.randn(1008, 16, generator=rng) / 2, torch.randn(1008, generator=rng) / 2
    logits = torch.addmm(bias, rows, weight.T)
    ours = inception_score(rows.numpy(), weight, bias)
    assert 1.5 < ours < 900
    theirs = inception.InceptionScore(feature=AsTheyAre(), splits=1)
    theirs.update(logits)
    assert ours == pytest.approx(float(theirs.compute()[0]), rel=1e-5)
    of_fidelity = fidelity.isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert ours == pytest.approx(of_fidelity, rel=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_and_recall_are_torch_fidelitys(neighbours):
    fidelity = pytest.importorskip("torch_fidelity.metric_prc", reason=REASON)
    real, synthetic = features(2, 900), features(3, 1_300, 0.4)
    theirs = fidelity.calculate_precision_recall_part(
        torch.from_numpy(synthetic).double(), torch.from_numpy(real).double(), neighbours, batch_size=400
    )
    ours = manifold_overlap(real, synthetic, neighbours)
    assert (ours.precision, ours.recall) == pytest.approx(theirs, abs=1e-6)  # theirs are float32 means
    assert 0.02 < ours.precision < 0.98


@pytest.mark.parametrize("n_bins", [5, 15])
def test_calibration_error_is_torchmetrics(n_bins):
    functional = pytest.importorskip("torchmetrics.functional.classification", reason=REASON)
    labels, p = probabilities(4)
    theirs = functional.multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(labels), num_classes=10, n_bins=n_bins, norm="l1"
    )
    assert calibration_error(labels, p, n_bins) == pytest.approx(float(theirs), abs=1e-6)


def test_accuracy_by_class_and_confusion_are_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.classification", reason=REASON)
    labels, p = probabilities(5)
    both = torch.from_numpy(p.argmax(axis=1)), torch.from_numpy(labels)
    ours = confusion_matrix(labels, p.argmax(axis=1), 10)
    assert (ours == functional.multiclass_confusion_matrix(*both, num_classes=10).numpy()).all()
    by_class = functional.multiclass_accuracy(*both, num_classes=10, average=None)
    assert ours.diagonal() / ours.sum(axis=1) == pytest.approx(by_class.numpy(), abs=1e-6)
