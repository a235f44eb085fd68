import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness, labels_learnt
from nominal import SENSITIVE, recomputed_epsilon

from dpib import catalogue
from dpib import config as config_module
from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages, PublicDataset
from dpib.privacy import dpsgd
from dpib.progress import Reporter
from dpib.spec import RunSpec
from dpib.testing.replay import RecordingNoise, neighbours_differ_by
from dpib_plugins import dp_gan
from dpib_plugins.dp_gan import opponent
from dpib_plugins.dp_gan.fakes import FakePool
from dpib_plugins.dp_gan.method import DpGan, DpGanConfig
from dpib_plugins.nets.discriminators import ProjectionDiscriminator

TINY = DpGanConfig(
    g_conv_dim=2,
    d_conv_dim=2,
    spectral_norm=False,
    steps=3,
    batch_size=10_000,
    clipping_norm=0.5,
    discriminator_steps=2,
    fakes=8,
    generator_batch=10,
    averaging=0.9,
    physical_batch=7,
    pretrain_steps=4,
    pretrain_batch=10,
)


@pytest.fixture
def pools(monkeypatch):
    """The labels of every pool of fakes that is made."""
    seen, refill = [], FakePool.refill

    def look(self, images, labels, generator):
        seen.append(labels.clone())
        refill(self, images, labels, generator)
        assert torch.equal(self.labels, labels)

    monkeypatch.setattr(FakePool, "refill", look)
    return seen


@pytest.mark.parametrize(("shape", "n_classes", "expected"), [((3, 32, 32), 2, 1_647_847)])
def test_the_discriminator_has_the_published_number_of_parameters(shape, n_classes, expected):
    assert sum(p.numel() for p in ProjectionDiscriminator(shape, n_classes, 80).parameters()) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_a_score_depends_on_its_own_image_alone(shape):
    discriminator = ProjectionDiscriminator(shape, 3, 2)
    images, labels = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.arange(4) % 3
    together = discriminator(images, labels)
    alone = torch.cat([discriminator(images[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert len(together.unique()) == 4


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(9)), st.integers(1, 9))
def test_a_partner_depends_on_its_own_record_alone(seed, order, count):
    pool, generator = FakePool((1, 4, 4), 5), torch.Generator().manual_seed(seed)
    pool.refill(torch.rand(5, 1, 4, 4), torch.arange(5) % 3, generator)
    images = torch.randint(256, (9, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(9) % 3
    partners = pool.partners(images, labels)
    chosen = torch.tensor(order[:count])
    assert torch.equal(pool.partners(images[chosen], labels[chosen]), partners[chosen])
    assert int(partners.min()) >= 0
    assert int(partners.max()) < 5


def test_partners_are_spread_evenly_and_change_with_the_step():
    pool, generator = FakePool((1, 28, 28), 16), torch.Generator().manual_seed(0)
    images = torch.randint(256, (4000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    found = []
    for _ in range(2):
        pool.refill(torch.zeros(16, 1, 28, 28), torch.arange(16) % 10, generator)
        found.append(pool.partners(images, torch.zeros(4000, dtype=torch.int64)))
        counts = found[-1].bincount(minlength=16)
        assert 150 < int(counts.min()) <= int(counts.max()) < 350  # 250 expected, 15 is one standard deviation
    assert 0.02 < float((found[0] == found[1]).float().mean()) < 0.12


def test_the_release_is_the_sum_of_jointly_clipped_gradients_of_both_passes(tmp_path, digits):
    data, noise = digits[:20], RecordingNoise(bytes(range(32)))
    harness = Harness(tmp_path, data, noise=noise)
    oracle_method = DpGan(TINY, harness.task, Harness(tmp_path / "oracle", data).context)
    pool = oracle_method._opponent(
        "fit gan", torch.arange(10), TINY, oracle_method.context
    ).pool  # filled as in the run
    parameters = list(oracle_method.discriminator.parameters())
    oracle = [torch.zeros_like(p) for p in parameters]
    norms = []
    for image, label in zip(data.images, data.labels, strict=True):
        rows = torch.autograd.grad(oracle_method.hinge(pool, image[None], label[None]).sum(), parameters)
        norms.append(float(torch.cat([row.flatten() for row in rows]).norm()))
        oracle = [o + row * min(1.0, TINY.clipping_norm / norms[-1]) for o, row in zip(oracle, rows, strict=True)]
    assert max(norms) > TINY.clipping_norm

    method = DpGan(TINY.model_copy(update={"steps": 1}), harness.task, harness.context)
    method.fit(harness.private)
    (release,) = noise.releases
    for ours, theirs in zip(release.exact, oracle, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("place", ["front", "end"])
@pytest.mark.parametrize("kind", ["some", "duplicates", "empty"])
@pytest.mark.parametrize("pixel", [0, 255])
def test_one_record_more_moves_a_release_by_at_most_the_bound_wherever_it_stands(
    place, kind, pixel, tmp_path_factory, digits
):
    data = digits[:17] if kind == "some" else digits[:0]
    if kind == "duplicates":
        data = LabelledImages(digits.images[:1].repeat(9, 1, 1, 1), digits.labels[:1].repeat(9))
    extra = LabelledImages(torch.full((1, 1, 8, 8), pixel, dtype=torch.uint8), torch.tensor([9]))
    parts = (extra, data) if place == "front" else (data, extra)
    more = LabelledImages(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))
    config = TINY.model_copy(update={"clipping_norm": 1e-2})

    def run(data, noise):
        harness = Harness(tmp_path_factory.mktemp("run"), data, noise=noise)
        DpGan(config, harness.task, harness.context).fit(harness.private)

    gaps = neighbours_differ_by(run, data, more, bytes(range(32)))
    assert len(gaps) == 3
    assert all(gap <= 1e-2 * (1 + 1e-3) for gap in gaps)
    assert gaps[0] == pytest.approx(1e-2, rel=1e-3)  # the bound is reached


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
@pytest.mark.parametrize("dataset", SENSITIVE)
def test_at_every_nominal_size_the_budget_is_used_and_kept(dataset, epsilon, tmp_path, monkeypatch):
    monkeypatch.setattr(dpsgd, "train_privately", lambda *_, **__: None)
    monkeypatch.setattr(opponent, "_SETTLING_BATCHES", 1)
    small = {"g_conv_dim": 2, "d_conv_dim": 2, "spectral_norm": False, "fakes": 2}
    config = DpGanConfig().model_copy(update=small)
    assert 0.98 * epsilon <= recomputed_epsilon(DpGan, config, dataset, epsilon, tmp_path) <= epsilon


def test_without_noise_it_learns_classes(tmp_path, digits, balanced):
    harness = Harness(tmp_path, digits, epsilon=1.0)
    preset = tomllib.loads((Path(dp_gan.__file__).parent / "presets.toml").read_text(encoding="utf-8"))["demo"]
    method = DpGan(DpGanConfig.from_plain(preset), harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(balanced)
    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    nearest = torch.cdist(images.float().flatten(1), means).argmin(1)
    assert float((nearest == balanced).float().mean()) >= 0.8
    assert float(images[balanced == 3].float().std(0).mean()) > 5  # not one image per class


class Killed(BaseException):
    pass


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path, digits, balanced, monkeypatch):
    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", 0.0)
    config = TINY.model_copy(update={"steps": 7, "batch_size": 30})
    noise = RecordingNoise(bytes(range(32)))
    whole = Harness(tmp_path / "whole", digits[:60], epsilon=1.0, noise=noise)
    method = DpGan(config, whole.task, whole.context)
    method.fit(whole.private)

    def kill(event):
        if event.done == 4:
            raise Killed

    killed = Harness(tmp_path / "killed", digits[:60], epsilon=1.0, noise=RecordingNoise(bytes(range(32))))
    killed.context.reporter = Reporter(kill)
    with pytest.raises(Killed):
        DpGan(config, killed.task, killed.context).fit(killed.private)
    resumed = Harness(tmp_path / "killed", digits[:60], epsilon=1.0, noise=RecordingNoise(bytes(range(32))))
    again = DpGan(config, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert 0 < len(resumed.private._noise.releases) < 7
    assert torch.equal(method.generate(balanced), again.generate(balanced))
    assert len(resumed.ledger.charges) == 1


@pytest.mark.parametrize("labels", ["conditional", "unconditional"])
def test_pretraining_touches_no_private_data_and_learns_the_labels_of_public_images(
    harness, digits, balanced, pools, labels
):
    public = digits[:100] if labels == "conditional" else LabelledImages(digits.images[:100], torch.zeros(100).long())
    method = DpGan(TINY, harness.task, harness.context)
    before, seen = method.generate(balanced), labels_learnt(method.generator)
    cache = Harness(harness.folder / "cache", digits).context
    method.pretrain(PublicDataset(DIGITS, public), cache)
    assert len(seen) == TINY.pretrain_steps // TINY.discriminator_steps
    assert torch.equal(torch.cat(seen).unique(), public.labels.unique())
    assert len(pools[-1].unique()) == (1 if labels == "unconditional" else TINY.fakes)
    assert not torch.equal(before, method.generate(balanced))
    assert harness.ledger.charges == ()


def test_a_warm_up_goes_on_from_the_pretrained_weights_for_its_own_number_of_steps(harness, digits):
    config = TINY.model_copy(update={"warm_up_steps": 2, "pretrain_steps": 8})
    method = DpGan(config, harness.task, harness.context)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), harness.context.within("pretrain"))
    before = {name: value.clone() for name, value in method.discriminator.state_dict().items()}
    seen = labels_learnt(method.generator)
    method.warm_up(PublicDataset(None, digits[:20]), harness.context.within("warm up"))
    assert len(seen) == 1
    moved = max(float((value - before[name]).abs().max()) for name, value in method.discriminator.state_dict().items())
    assert 0 < moved < 3 * 2 * config.learning_rate


def test_fakes_and_the_generators_batch_are_no_more_than_public_images_while_pretraining(harness, digits, pools):
    """Published: 1,024 of each, where the private stage has 4,096 (Table XVII)."""
    method = DpGan(TINY.model_copy(update={"pretrain_batch": 3}), harness.task, harness.context)
    seen = labels_learnt(method.generator)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), harness.context.within("pretrain"))
    assert {len(labels) for labels in pools} == {len(labels) for labels in seen} == {3}
    pools.clear()
    method.fit(harness.private)
    assert {len(labels) for labels in pools} == {TINY.fakes}
    assert len(seen[-1]) == TINY.generator_batch


def test_batches_and_pools_smaller_than_the_number_of_classes_visit_all_of_them(tmp_path, digits, pools):
    config = TINY.model_copy(update={"steps": 9, "batch_size": 20, "generator_batch": 3, "fakes": 4})
    harness = Harness(tmp_path, digits[:20])
    method = DpGan(config, harness.task, harness.context)
    seen = labels_learnt(method.generator)
    method.fit(harness.private)
    assert torch.equal(torch.cat(seen), torch.arange(4 * 3) % 10)
    assert torch.equal(torch.cat(pools), torch.arange(10 * 4) % 10)


def test_the_average_forgets_the_first_weights_of_a_short_training(tmp_path, digits):
    """After twenty updates the published decay alone would leave 98 % of them."""
    harness = Harness(tmp_path, digits[:20])
    method = DpGan(TINY.model_copy(update={"averaging": 0.999}), harness.task, harness.context)
    average = method._opponent("fit gan", torch.arange(10), method.config, harness.context)._average
    for value in (0.0, *[1.0] * 20):
        for parameter in method.generator.parameters():
            parameter.data.fill_(value)
        average.update_parameters(method.generator)
    assert min(float(parameter.detach().min()) for parameter in average.module.parameters()) > 0.99


def test_chunks_add_up_to_the_gradient_of_the_whole_batch(tmp_path, digits):
    gradients = []
    for size in (3, 128):
        harness = Harness(tmp_path / str(size), digits[:20])
        config = TINY.model_copy(update={"generator_physical_batch": size, "discriminator_steps": 1})
        method = DpGan(config, harness.task, harness.context)
        opponent = method._opponent("fit gan", torch.arange(10), config, harness.context)
        method.generator.eval()  # batch norm averages over a chunk
        for module in method.generator.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.reset_running_stats()
        opponent._update(0)
        gradients.append([parameter.grad for parameter in method.generator.parameters()])
    assert max(float(gradient.abs().max()) for gradient in gradients[0]) > 1e-3
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_paper_steps_are_those_of_table_xvi():
    published = {"mnist": 2_196, "fashion-mnist": 2_196, "cifar10": 1_830, "cifar100": 1_830, "eurosat": 842}
    published |= dict.fromkeys(("celeba-male-32", "celeba-male-64", "celeba-male-128"), 3_974) | {"camelyon17": 3_692}
    (plugin,) = dp_gan.dpib_synthesizers()

    def steps(dataset):
        spec = RunSpec(method="dp-gan", dataset=dataset, epsilon=10.0, track="paper-v1")
        return config_module.resolve(plugin, DpGanConfig, spec).config.steps

    assert {name: steps(name) for name in catalogue.track("paper-v1").datasets} == published
