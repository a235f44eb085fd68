import pytest
import torch
from method_harness import Harness

from dpib.data.images import LabelledImages
from dpib_plugins.dp_means.method import DpMeans, DpMeansConfig
from dpib_plugins.real.method import Real
from dpib_plugins.uniform.method import Uniform


def test_means_equal_the_oracle_for_dim_images(tmp_path, digits, balanced):
    harness = Harness(tmp_path, digits)
    method = DpMeans(DpMeansConfig(clipping_rms=1.0, pixel_noise=0.0), harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(balanced)
    for label in range(10):
        total = digits.images[digits.labels == label].double().sum(0) * 10 / harness.task.nominal_size
        made = images[balanced == label].double()
        assert float((made - total.clamp(0, 255)).abs().max()) <= 0.51
    (charge,) = harness.ledger.charges
    assert charge.sensitivity == pytest.approx(8.0)  # 1.0 · sqrt(64)


def test_bright_records_are_dimmed(tmp_path):
    white = LabelledImages(torch.full((3, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(3).long())
    harness = Harness(tmp_path, white)
    DpMeans(DpMeansConfig(clipping_rms=0.25), harness.task, harness.context).fit(harness.private)
    sums = harness.context.recall("pixel sums")
    assert float(sums[0].norm()) == pytest.approx(3 * 0.25 * 8, rel=1e-5)


def test_means_differ_by_public_noise_and_repeat(harness, balanced):
    method = DpMeans(DpMeansConfig(), harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(balanced)
    assert images.dtype == torch.uint8
    assert images.shape == (200, 1, 8, 8)
    assert len(images.flatten(1).unique(dim=0)) == 200
    assert torch.equal(images, method.generate(balanced))


def test_uniform_reads_nothing(harness, balanced):
    method = Uniform(Uniform.Config(), harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(balanced)
    assert harness.ledger.charges == ()
    assert images.dtype == torch.uint8
    assert images.shape == (200, 1, 8, 8)
    assert int(images.min()) == 0
    assert int(images.max()) == 255
    assert torch.equal(images, method.generate(balanced))


def test_real_hands_out_each_image_once_while_there_are_some(tmp_path, digits):
    harness = Harness(tmp_path, digits, epsilon=None)
    method = Real(Real.Config(), harness.task, harness.context)
    method.fit(harness.private)
    labels = torch.arange(1000) % 10
    images = method.generate(labels)
    found = (images.flatten(1)[:, None] == digits.images.flatten(1)[None]).all(2)
    assert bool(found.any(1).all())
    assert all(int(digits.labels[row.nonzero()[0]]) == label for row, label in zip(found, labels, strict=True))
    assert int(found.sum(0).max()) == 1
    assert torch.equal(images, method.generate(labels))


def test_real_repeats_only_when_a_class_is_used_up_and_survives_an_empty_one(tmp_path, digits):
    one = digits[(digits.labels == 2).nonzero()[:3, 0]]
    harness = Harness(tmp_path, one, epsilon=None)
    method = Real(Real.Config(), harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(torch.tensor([2] * 7 + [5]))
    _, counts = images[:7].flatten(1).unique(dim=0, return_counts=True)
    assert sorted(counts.tolist()) == [2, 2, 3]
    assert int(images[7].max()) == 0
