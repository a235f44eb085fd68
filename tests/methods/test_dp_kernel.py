import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness
from nominal import SENSITIVE, recomputed_epsilon
from pydantic import ValidationError

from dpib.contribution import InstalledMethod
from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import RunError
from dpib.privacy.noise import NoiseSource
from dpib.synthesizer import Method
from dpib.testing.replay import neighbours_differ_by
from dpib.testing.suite import check_method, explain
from dpib_plugins.dp_kernel import CARD
from dpib_plugins.dp_kernel.features import MultiBandwidthFeatures
from dpib_plugins.dp_kernel.method import DpKernel, DpKernelConfig

BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
SMALL = DpKernelConfig(
    n_features=1000, private_batch=400, g_conv_dim=4, steps=200, decay_every=40, averaging=0.95, pretrain_steps=5
)
TINY = SMALL.model_copy(update={"n_features": 50, "steps": 2, "batch_size": 10, "spectral_norm": False})
RELEASES = ("once", "every-step")


class TinyEveryStep(DpKernel):
    """The series, with settings under which ``dpib check`` takes seconds."""

    class Config(DpKernelConfig):
        release: str = "every-step"
        n_features: int = 50
        private_batch: int = 40
        g_conv_dim: int = 4
        steps: int = 3
        batch_size: int = 10
        spectral_norm: bool = False


def features(n_features=200):
    return MultiBandwidthFeatures(64, n_features, BANDWIDTHS, torch.Generator().manual_seed(0), "cpu")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=64, max_size=64), st.sampled_from([10, 1000]))
def test_every_feature_vector_has_norm_one(pixels, n_features):
    images = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 8, 8)
    row = features(n_features).of_bytes(images, torch.zeros(1, dtype=torch.int64))
    assert row.shape == (1, n_features)
    assert float(torch.linalg.vector_norm(row.double())) == pytest.approx(1, abs=1e-6)


def test_inner_products_estimate_the_mean_of_the_published_kernels():
    x, y = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).unsqueeze(1)
    embed = features(n_features=200_000)
    squared = float((2 * x - 2 * y).square().sum())
    expected = sum(math.exp(-squared / (2 * b * b)) for b in BANDWIDTHS) / 5
    assert float((embed(x) * embed(y)).sum()) == pytest.approx(expected, abs=0.01)


def test_features_that_do_not_divide_among_the_bandwidths_are_refused():
    with pytest.raises(ValidationError, match="multiple of 2 x 5"):
        DpKernelConfig(n_features=12)


def test_the_series_is_the_sums_of_poisson_samples_under_fresh_features(tmp_path, digits, monkeypatch):
    harness = Harness(tmp_path, digits[:300], epsilon=1.0)
    config = TINY.model_copy(update={"release": "every-step", "private_batch": 100, "steps": 3})
    method = DpKernel(config, harness.task, harness.context)
    seen = []
    monkeypatch.setattr(method, "_match", lambda name, goal, *_: seen.extend(goal(step) for step in range(3)))
    method.fit(harness.private)
    (charge,) = harness.ledger.charges
    assert (charge.sensitivity, charge.event.steps, charge.sampling) == (1.0, 3, "poisson")
    assert charge.event.sample_rate == 100 / DIGITS.nominal_size
    for step, (_, target) in enumerate(seen):
        generator = harness.context.seeds.torch("frequencies", step)
        embed = MultiBandwidthFeatures(64, 50, BANDWIDTHS, generator, "cpu")
        sample = Harness(tmp_path / "other", digits).private._noise.poisson_sample(300, 100 / 1297, charge.id, step)
        oracle = embed.sums(digits.images[sample] / 255, digits.labels[sample], 10) / 100
        torch.testing.assert_close(target, oracle, rtol=1e-4, atol=1e-5)
    frequencies = [embed._frequencies for embed, _ in seen]
    assert not torch.equal(frequencies[0], frequencies[1])


def extremes(digits, kind):
    if kind == "empty":
        return digits[:0]
    if kind == "duplicates":
        return LabelledImages(digits.images[:1].repeat(30, 1, 1, 1), digits.labels[:1].repeat(30))
    return digits[:40]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", ["empty", "single", "duplicates", "some"])
@pytest.mark.parametrize("pixel", [0, 255, None])
def test_one_record_more_moves_a_release_by_at_most_one(release, kind, pixel, tmp_path_factory, digits):
    data = digits[:1] if kind == "single" else extremes(digits, kind)
    image = digits.images[50:51] if pixel is None else torch.full((1, 1, 8, 8), pixel, dtype=torch.uint8)
    more = LabelledImages(torch.cat([data.images, image]), torch.cat([data.labels, torch.tensor([9])]))
    config = TINY.model_copy(update={"release": release, "private_batch": 10_000})

    def run(data, noise):
        harness = Harness(tmp_path_factory.mktemp("run"), data, noise=noise)
        DpKernel(config, harness.task, harness.context).fit(harness.private)

    gaps = neighbours_differ_by(run, data, more, bytes(range(32)))
    assert len(gaps) == (1 if release == "once" else 2)
    assert all(gap == pytest.approx(1, abs=1e-5) for gap in gaps)  # the bound is reached, and not exceeded


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("epsilon", [1.0, 10.0])
@pytest.mark.parametrize("dataset", SENSITIVE)
def test_at_every_nominal_size_the_budget_is_used_and_kept(dataset, epsilon, release, tmp_path, monkeypatch):
    monkeypatch.setattr(DpKernel, "_match", lambda *_: None)
    config = DpKernelConfig(release=release, n_features=10, g_conv_dim=2, spectral_norm=False)
    assert 0.98 * epsilon <= recomputed_epsilon(DpKernel, config, dataset, epsilon, tmp_path) <= epsilon


@pytest.mark.parametrize("release", RELEASES)
def test_without_noise_it_learns_classes_and_a_resumed_run_repeats_it(release, tmp_path, digits, balanced):
    config = SMALL.model_copy(update={"release": release})
    first = Harness(tmp_path, digits)
    method = DpKernel(config, first.task, first.context)
    method.fit(first.private)
    images = method.generate(balanced)
    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    nearest = torch.cdist(images.float().flatten(1), means).argmin(1)
    assert float((nearest == balanced).float().mean()) >= 0.8
    resumed = Harness(tmp_path, digits)
    again = DpKernel(config, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert torch.equal(images, again.generate(balanced))
    assert len(resumed.ledger.charges) == 1


class Broken(NoiseSource):
    def add_gaussian(self, exact, std, charge, step=0):
        raise RunError("no noise today")


@pytest.mark.parametrize("release", RELEASES)
def test_a_failure_of_the_noise_ends_the_run(release, tmp_path, digits):
    harness = Harness(tmp_path, digits[:50], noise=Broken(bytes(32)))
    with pytest.raises(RunError, match="no noise today"):
        DpKernel(TINY.model_copy(update={"release": release}), harness.task, harness.context).fit(harness.private)


def test_pretraining_touches_no_private_data(harness, digits, balanced):
    method = DpKernel(SMALL, harness.task, harness.context)
    before = method.generate(balanced)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), Harness(harness.folder / "cache", digits).context)
    assert not torch.equal(before, method.generate(balanced))
    assert harness.ledger.charges == ()


@pytest.mark.parametrize(
    "method",
    [
        Method(CARD, implementation="dpib_plugins.dp_kernel.method:DpKernel", presets="presets.toml"),
        Method(CARD, implementation=f"{__name__}:TinyEveryStep"),
    ],
    ids=RELEASES,
)
def test_it_passes_the_conformance_suite(method):
    verdict = check_method(InstalledMethod(method, "dpib", "0"), "quick")
    assert verdict.holds, explain(verdict)
