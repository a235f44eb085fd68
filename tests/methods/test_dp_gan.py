import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness
from nominal import SENSITIVE, recomputed_epsilon

from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages, PublicDataset
from dpib.privacy import private as private_module
from dpib.progress import Reporter
from dpib.testing.replay import RecordingNoise, neighbours_differ_by
from dpib_plugins import dp_gan
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
    pool, generator = FakePool((1, 4, 4), 5, 3), torch.Generator().manual_seed(seed)
    pool.refill(torch.rand(5, 1, 4, 4), generator)
    images = torch.randint(256, (9, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(9) % 3
    partners = pool.partners(images, labels)
    chosen = torch.tensor(order[:count])
    assert torch.equal(pool.partners(images[chosen], labels[chosen]), partners[chosen])
    assert int(partners.min()) >= 0
    assert int(partners.max()) < 5


def test_partners_are_spread_evenly_and_change_with_the_step():
    pool, generator = FakePool((1, 28, 28), 16, 10), torch.Generator().manual_seed(0)
    images = torch.randint(256, (4000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    found = []
    for _ in range(2):
        pool.refill(torch.zeros(16, 1, 28, 28), generator)
        found.append(pool.partners(images, torch.zeros(4000, dtype=torch.int64)))
        counts = found[-1].bincount(minlength=16)
        assert 150 < int(counts.min()) <= int(counts.max()) < 350  # 250 expected, 15 is one standard deviation
    assert 0.02 < float((found[0] == found[1]).float().mean()) < 0.12


def test_the_release_is_the_sum_of_jointly_clipped_gradients_of_both_passes(tmp_path, digits):
    data, noise = digits[:20], RecordingNoise(bytes(range(32)))
    harness = Harness(tmp_path, data, noise=noise)
    oracle_method = DpGan(TINY, harness.task, Harness(tmp_path / "oracle", data).context)
    oracle_method._opponent("fit gan", oracle_method.context)  # fills the pool as the run does
    parameters = list(oracle_method.discriminator.parameters())
    oracle = [torch.zeros_like(p) for p in parameters]
    norms = []
    for image, label in zip(data.images, data.labels, strict=True):
        rows = torch.autograd.grad(oracle_method.hinge(image[None], label[None]).sum(), parameters)
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
    monkeypatch.setattr(private_module, "train_privately", lambda *_, **__: None)
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


def test_pretraining_touches_no_private_data(harness, digits, balanced):
    method = DpGan(TINY, harness.task, harness.context)
    before = method.generate(balanced)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), Harness(harness.folder / "cache", digits).context)
    assert not torch.equal(before, method.generate(balanced))
    assert harness.ledger.charges == ()
