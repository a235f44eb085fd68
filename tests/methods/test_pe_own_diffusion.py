"""PE on a denoiser that was pretrained on public images."""

import pytest
import torch
from method_harness import Harness

from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import PublicDataset
from dpib.errors import ConfigError
from dpib_plugins.diffusion.samplers import SIGMA_MAX, Sampler
from dpib_plugins.diffusion.settings import PretrainingConfig
from dpib_plugins.pe.method import PeConfig, PrivateEvolution
from dpib_plugins.pe.own import OwnDiffusion, cosine_level

NETWORK = PretrainingConfig(
    width=8, multipliers=(1,), attention=(), blocks=1, patch=2, pretrain_steps=4, pretrain_batch=10
)
TINY = PeConfig(
    api="own-diffusion",
    population_per_class=5,
    degrees=(0.7, 0.3),
    lookahead=1,
    features="pixels",
    sampling_steps=3,
    api_batch_size=20,
    diffusion=NETWORK,
)


def test_it_runs_on_what_it_learnt_from_public_images(tmp_path, digits):
    def run(name, n_public):
        harness = Harness(tmp_path / name, digits[:50])
        method = PrivateEvolution(TINY, harness.task, harness.context)
        cache = Harness(tmp_path / name / "cache", digits).context
        method.pretrain(PublicDataset(DIGITS, digits[100 : 100 + n_public]), cache)
        method.fit(harness.private)
        return method.generate(torch.arange(20) % 10), harness.ledger.charges

    images, charges = run("a", 100)
    assert images.shape == (20, 1, 8, 8) and len(charges) == 1
    assert torch.equal(images, run("b", 100)[0])
    assert not torch.equal(images, run("c", 50)[0])


def test_without_public_images_it_says_what_to_add(harness):
    with pytest.raises(ConfigError, match="add --public"):
        PrivateEvolution(TINY, harness.task, harness.context).fit(harness.private)
    other = TINY.model_copy(update={"api": "simulator"})
    with pytest.raises(ConfigError, match="own-diffusion"):
        PrivateEvolution(other, harness.task, harness.context).pretrain(None, harness.context)


def test_it_shares_the_pretraining_of_diffusion_methods_and_only_it(harness):
    assert TINY.pretraining_basis(harness.task) == NETWORK.pretraining_basis(harness.task)
    assert TINY.model_copy(update={"api": "simulator"}).pretraining_basis(harness.task) is None


def test_its_own_degrees_and_levels_take_the_place_of_the_others(tmp_path, digits, monkeypatch):
    config = TINY.model_copy(update={"own_degrees": (1.0, 0.99, 0.98), "own_sampling_steps": 5})
    assert config.schedule() == (1.0, 0.99, 0.98)
    assert config.model_copy(update={"api": "simulator"}).schedule() == TINY.schedule() == (0.7, 0.3)
    degrees, variation = [], OwnDiffusion.variation

    def look(self, samples, labels, degree, generator):
        degrees.append(degree)
        assert len(self._sampler.levels()) == 5
        return variation(self, samples, labels, degree, generator)

    monkeypatch.setattr(OwnDiffusion, "variation", look)
    harness = Harness(tmp_path, digits[:50])
    method = PrivateEvolution(config, harness.task, harness.context)
    method.pretrain(PublicDataset(DIGITS, digits[100:150]), Harness(tmp_path / "cache", digits).context)
    method.fit(harness.private)
    method.generate(torch.arange(60) % 10)
    assert degrees == [1.0, 1.0, 0.99, 0.99, 0.98, 0.98, 0.98]  # lookahead and children; more than the population
    (charge,) = harness.ledger.charges
    assert charge.event.steps == 3


def test_a_variation_starts_at_the_first_level_not_above_the_schedule():
    seen = []

    def denoiser(noisy, sigma, labels):
        seen.append((float(sigma[0]), labels.tolist()))
        return torch.zeros_like(noisy)

    sampler = Sampler("euler", 10, lowest=0.1)
    api, levels = OwnDiffusion(denoiser, torch.tensor([7]), (1, 4, 4), sampler, 100, "cpu"), sampler.levels()
    generator, labels = torch.Generator().manual_seed(0), torch.tensor([1, 2])
    samples = api.random(labels, generator)
    assert len(seen) == 10 and seen[0] == (pytest.approx(SIGMA_MAX), [7, 7]) and seen[-1][0] == pytest.approx(0.1)
    assert torch.equal(samples.images, torch.full((2, 1, 4, 4), 128, dtype=torch.uint8))
    for degree in (0.1, 0.5, 0.9, 1.0):
        seen.clear()
        api.variation(samples, labels, degree, generator)
        allowed = [level for level in levels.tolist() if level <= cosine_level(degree)]
        assert seen[0][0] == pytest.approx(allowed[0]) and len(seen) == len(allowed)
    assert api.variation(samples, labels, 0.0, generator) is samples
    assert cosine_level(0.0) < 0.02 and cosine_level(1.0) == SIGMA_MAX


def test_candidates_of_a_class_have_any_learnt_label_and_keep_it():
    """A public label says nothing about the private class of the same number."""
    seen = []

    def denoiser(noisy, sigma, labels):
        seen.append(labels)
        return torch.zeros_like(noisy)

    api = OwnDiffusion(denoiser, torch.tensor([0, 3, 5]), (1, 4, 4), Sampler("euler", 2), 100, "cpu")
    generator, labels = torch.Generator().manual_seed(0), torch.zeros(300, dtype=torch.int64)
    samples = api.random(labels, generator)
    drawn = torch.cat(seen[::2])
    assert drawn.unique().tolist() == [0, 3, 5] and int(drawn.bincount()[[0, 3, 5]].min()) > 60
    seen.clear()
    parents = torch.arange(0, 300, 2)
    api.variation(samples.take(parents), labels[parents], 0.5, generator)
    assert torch.equal(torch.cat(seen), drawn[parents])  # one level each, in parts of 100
