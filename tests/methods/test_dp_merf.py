import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness, Silent, labels_learnt

from dpib import catalogue, config
from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages, PublicDataset
from dpib.privacy.noise import NoiseSource
from dpib.spec import RunSpec
from dpib_plugins.dp_merf.features import FourierFeatures
from dpib_plugins.dp_merf.method import DpMerf, DpMerfConfig

SMALL = DpMerfConfig(
    n_features=300, squared_length_scale=4.0, g_conv_dim=4, steps=80, decay_every=40, averaging=0.9, pretrain_steps=5
)


def features(n_features=200, scale=4.0, n_pixels=64):
    return FourierFeatures(n_pixels, n_features, scale, torch.Generator().manual_seed(0), "cpu")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 255), min_size=64, max_size=64),
    st.sampled_from([2, 10, 1000]),
    st.floats(1e-2, 1e3),
)
def test_every_feature_vector_has_norm_one(pixels, n_features, scale):
    images = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 8, 8)
    row = features(n_features, scale).of_bytes(images, torch.zeros(1, dtype=torch.int64))
    assert row.shape == (1, n_features)
    assert float(torch.linalg.vector_norm(row.double())) == pytest.approx(1, abs=1e-6)


def test_inner_products_estimate_the_gaussian_kernel():
    x, y = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).unsqueeze(1)
    embed = features(n_features=200_000)
    expected = math.exp(-float((x - y).square().sum()) / (2 * 4.0))
    assert float((embed(x) * embed(y)).sum()) == pytest.approx(expected, abs=0.01)


def test_the_release_is_the_sum_over_records_with_sensitivity_one(tmp_path, digits):
    harness = Harness(tmp_path, digits[:50])
    config = SMALL.model_copy(update={"steps": 1})
    DpMerf(config, harness.task, harness.context).fit(harness.private)
    embed = FourierFeatures(64, 300, 4.0, harness.context.seeds.torch("frequencies"), "cpu")
    oracle = torch.zeros(10, 300)
    for image, label in zip(digits.images[:50], digits.labels[:50], strict=True):
        oracle[label] += embed(image[None].float() / 255)[0]
    torch.testing.assert_close(harness.context.recall("embedding"), oracle, atol=1e-4, rtol=1e-4)
    (charge,) = harness.ledger.charges
    assert charge.sensitivity == 1.0
    assert charge.event.steps == 1
    assert charge.event.sample_rate == 1
    assert 0.98 * 10 < harness.ledger.spent() <= 10


def test_the_noise_has_the_charged_standard_deviation(tmp_path, digits):
    runs = [
        Harness(tmp_path / name, digits[:50], epsilon=1.0, noise=noise)
        for name, noise in (("exact", Silent()), ("noisy", NoiseSource.from_os()))
    ]
    for run in runs:
        DpMerf(SMALL.model_copy(update={"steps": 1}), run.task, run.context).fit(run.private)
    exact, noisy = (run.context.recall("embedding") for run in runs)
    assert float((noisy - exact).std()) == pytest.approx(runs[1].ledger.charges[0].event.noise_multiplier, rel=0.05)


def test_without_noise_it_learns_classes_and_a_resumed_run_repeats_it(tmp_path, digits, balanced):
    first = Harness(tmp_path, digits)
    method = DpMerf(SMALL, first.task, first.context)
    method.fit(first.private)
    images = method.generate(balanced)
    assert images.dtype == torch.uint8
    assert images.shape == (200, 1, 8, 8)
    assert torch.equal(images, method.generate(balanced))

    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    nearest = torch.cdist(images.float().flatten(1), means).argmin(1)
    assert float((nearest == balanced).float().mean()) > 0.8
    assert float(images[balanced == 3].float().std(0).mean()) > 5  # not one image per class

    resumed = Harness(tmp_path, digits)
    again = DpMerf(SMALL, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert torch.equal(images, again.generate(balanced))
    assert len(resumed.ledger.charges) == 1


def test_training_reduces_the_distance_to_the_release(tmp_path, digits, balanced):
    def distance(steps):
        harness = Harness(tmp_path / str(steps), digits)
        method = DpMerf(SMALL.model_copy(update={"steps": steps}), harness.task, harness.context)
        method.fit(harness.private)
        embed = FourierFeatures(64, 300, 4.0, harness.context.seeds.torch("frequencies"), "cpu")
        made = embed.sums(method.generate(balanced) / 255, balanced, 10) / len(balanced)
        return float((made - harness.context.recall("embedding") / harness.task.nominal_size).square().sum())

    assert distance(60) < distance(1) / 4


@pytest.mark.parametrize("labels", ["conditional", "unconditional"])
def test_pretraining_touches_no_private_data(harness, digits, balanced, labels):
    public = digits[:100] if labels == "conditional" else LabelledImages(digits.images[:100], torch.zeros(100).long())
    method = DpMerf(SMALL, harness.task, harness.context)
    before = method.generate(balanced)
    method.pretrain(PublicDataset(DIGITS, public), Harness(harness.folder / "cache", digits).context)
    assert not torch.equal(before, method.generate(balanced))
    assert harness.ledger.charges == ()


def test_batches_smaller_than_the_number_of_classes_visit_all_of_them(tmp_path, digits):
    harness = Harness(tmp_path, digits[:20])
    method = DpMerf(SMALL.model_copy(update={"batch_size": 4, "steps": 5}), harness.task, harness.context)
    seen = labels_learnt(method.generator)
    method.fit(harness.private)
    assert torch.equal(torch.cat(seen), torch.arange(5 * 4) % 10)


def test_a_warm_up_has_its_own_number_of_steps_and_public_images_their_own_decay(harness, digits, monkeypatch):
    config = SMALL.model_copy(update={"warm_up_steps": 3, "pretrain_decay_every": 2})
    rates, step = [], torch.optim.Adam.step

    def look(self, *arguments):
        rates.append(self.param_groups[0]["lr"] / config.learning_rate)
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", look)
    method = DpMerf(config, harness.task, harness.context)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), harness.context.within("pretrain"))
    assert rates == pytest.approx([1, 1, 0.9, 0.9, 0.81])
    rates.clear()
    method.warm_up(PublicDataset(None, digits[:20]), harness.context.within("warm up"))
    assert rates == pytest.approx([1, 1, 0.9])


def settings_of(name, dataset, track="paper-v1"):
    plugin = catalogue.method(name)
    spec = RunSpec(method=name, dataset=dataset, epsilon=10.0, track=track)
    return config.resolve(plugin.method, plugin.load().Config, spec).config


PUBLISHED_STEPS = {
    "mnist": 3_000,
    "fashion-mnist": 3_000,
    "cifar10": 2_500,
    "cifar100": 2_500,
    "eurosat": 1_150,
    "celeba-male-32": 8_138,
    "celeba-male-64": 8_138,
    "celeba-male-128": 8_138,
    "camelyon17": 15_122,
}


@pytest.mark.parametrize("name", ["dp-merf", "dp-kernel"])
def test_paper_steps_are_those_of_table_xvi_in_five_epochs(name):
    found = {dataset: settings_of(name, dataset) for dataset in catalogue.track("paper-v1").datasets}
    assert {dataset: one.steps for dataset, one in found.items()} == PUBLISHED_STEPS
    for one in found.values():
        assert one.steps // one.decay_every in (4, 5) and (one.steps - 1) // one.decay_every == 4
        assert (one.pretrain_steps - 1) // one.pretrain_decay_every == 0  # one epoch


@pytest.mark.parametrize("name", ["dp-merf", "dp-kernel", "dp-ntk", "dp-gan", "gs-wgan"])
def test_small_tracks_warm_up_as_long_as_they_pretrain(name):
    for track, dataset in (("demo-v1", "digits"), ("lite-v1", "mnist"), ("lite-v1", "eurosat")):
        values = settings_of(name, dataset, track).model_dump()
        assert values.get("prelude_steps", values["warm_up_steps"]) == values["pretrain_steps"]
        assert values.get("pretrain_decay_every") == values.get("decay_every")
        generated = max(values.get("generator_batch", values["batch_size"]), values.get("fakes", 0))
        assert values.get("generator_physical_batch", generated) >= generated  # a single pass
    paper = settings_of(name, "fashion-mnist").model_dump()
    assert paper.get("prelude_steps", paper["warm_up_steps"]) == settings_of("dpdm", "fashion-mnist").warm_up_steps
