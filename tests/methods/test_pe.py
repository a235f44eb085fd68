import math
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness

from dpib.data.images import LabelledImages
from dpib.errors import ConfigError, PluginError
from dpib.privacy.noise import NoiseSource
from dpib.testing.replay import neighbours_differ_by
from dpib_plugins.pe.features import blurred_pixels, feature_map, on_grid
from dpib_plugins.pe.method import PeConfig, PrivateEvolution
from dpib_plugins.pe.voting import choose_parents, vote_rows

SMALL = PeConfig(
    api="simulator",
    population_per_class=40,
    degrees=(0.7, 0.5, 0.35),
    lookahead=3,
    features="pixels",
    glyph_size=0.95,
)
TINY = SMALL.model_copy(update={"population_per_class": 5, "degrees": (0.7, 0.3), "lookahead": 1})


def grid_features(n, seed, width=6):
    return on_grid(torch.rand(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize("nearest", [1, 3])
def test_votes_are_those_of_a_brute_force_search(nearest):
    voters, labels = grid_features(50, 0), torch.arange(50) % 3
    candidates = grid_features(4 * 9, 1).view(4, 9, -1)
    rows = vote_rows(voters, labels, candidates, nearest)
    assert rows.shape == (50, 9)
    for voter, label, row in zip(voters.tolist(), labels.tolist(), rows.tolist(), strict=True):
        distances = [math.dist(voter, candidate) for candidate in candidates[label].tolist()]
        expected = sorted(range(9), key=distances.__getitem__)[:nearest]
        assert [index for index, vote in enumerate(row) if vote] == sorted(expected)
        assert sum(row) == nearest


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 127, 128, 254, 255]), min_size=64, max_size=64), st.integers(1, 5))
def test_a_vote_has_norm_root_k_and_depends_on_its_record_alone(pixels, nearest):
    """Also where candidates coincide, so that rounding would decide."""
    embed = feature_map("pixels", 8, "cpu")
    crowd = torch.randint(256, (999, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 8, 8)
    candidates = on_grid(embed(crowd[:5])).repeat(2, 1).view(2, 5, -1)
    candidates[1, 1] = candidates[1, 0]
    labels = torch.ones(1000, dtype=torch.int64)
    alone = vote_rows(on_grid(embed(image)), labels[:1], candidates, nearest)
    among = vote_rows(on_grid(embed(torch.cat([crowd, image]))), labels, candidates, nearest)
    assert torch.equal(among[-1:], alone)
    assert float(alone.norm()) == pytest.approx(math.sqrt(nearest))


def test_blurred_pixels_are_unit_rows_and_forgive_a_shift():
    image = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    image[0, 0, 5:20, 10:13], image[1, 0, 5:20, 11:14], image[2, 0, 5:20, 20:23] = 255, 255, 255
    rows = blurred_pixels(image)
    assert rows.shape == (3, 14 * 14)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3, dtype=torch.float64))
    assert float(rows[0] @ rows[1]) > 0.8
    assert float(rows[0] @ rows[2]) == 0
    assert torch.equal(blurred_pixels(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), torch.zeros(1, 192).double())


def test_parents_are_drawn_in_proportion_above_the_threshold():
    votes = torch.tensor([[2.0, 5.0, 3.0, -9.0]]).repeat(2000, 1)
    parents = choose_parents(votes, 2.0, torch.Generator().manual_seed(0))
    shares = parents.flatten().bincount(minlength=4) / parents.numel()
    torch.testing.assert_close(shares, torch.tensor([0, 0.75, 0.25, 0]), atol=0.03, rtol=0)  # 6 standard deviations


def test_a_class_without_votes_draws_uniformly():
    parents = choose_parents(torch.full((2000, 4), -1.0), 0.0, torch.Generator().manual_seed(0))
    shares = parents.flatten().bincount(minlength=4) / parents.numel()
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.03, rtol=0)


def run_to_release(folder, nearest):
    config = TINY.model_copy(update={"nearest": nearest})
    count = iter(range(1_000_000))

    def run(data, noise):
        harness = Harness(folder / str(next(count)), data, epsilon=1.0, noise=noise)
        PrivateEvolution(config, harness.task, harness.context).fit(harness.private)

    return run


def neighbour_pairs(digits):
    """A set and one record more: of a present or empty class, a duplicate, extreme pixels; on many, on one, on none."""
    records = [
        (digits.images[60:61], digits.labels[60:61]),
        (digits.images[:1], digits.labels[:1]),
        (torch.zeros_like(digits.images[:1]), torch.zeros(1, dtype=torch.int64)),
        (torch.full_like(digits.images[:1], 255), torch.full((1,), 9)),
    ]
    few = digits[digits.labels < 5][:20]
    duplicates = LabelledImages(digits.images[:1].repeat(20, 1, 1, 1), digits.labels[:1].repeat(20))
    for base in (digits[:40], few, duplicates, digits[:1], digits[:0]):
        for image, label in records:
            yield base, LabelledImages(torch.cat([base.images, image]), torch.cat([base.labels, label]))


@pytest.mark.parametrize("nearest", [1, 2])
def test_one_record_moves_every_histogram_by_exactly_root_k(tmp_path, digits, nearest):
    """20 pairs with 2 releases each here; ``dpib check pe --profile full`` runs 200."""
    run = run_to_release(tmp_path, nearest)
    for number, (base, neighbour) in enumerate(neighbour_pairs(digits)):
        moved = neighbours_differ_by(run, base, neighbour, bytes([number] * 32))
        assert moved == pytest.approx([math.sqrt(nearest)] * 2)


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_one_charge_for_all_histograms_that_uses_the_budget(tmp_path, digits, epsilon):
    harness = Harness(tmp_path, digits, epsilon=epsilon, noise=NoiseSource.from_os())
    PrivateEvolution(TINY, harness.task, harness.context).fit(harness.private)
    (charge,) = harness.ledger.charges
    assert (charge.sensitivity, charge.event.steps, charge.event.sample_rate) == (1.0, 2, 1.0)
    assert 0.98 * epsilon <= harness.ledger.spent() <= epsilon


def accuracy(images, labels, digits):
    """Share of images whose nearest class mean of the real ones is that of their label."""
    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    return float((torch.cdist(images.float().flatten(1), means).argmin(1) == labels).float().mean())


def nearest_distance(images, labels, digits):
    """How far the real images are from the nearest generated one of their class, on average, in angle."""
    ours, theirs = blurred_pixels(images), blurred_pixels(digits.images)
    angles = [(1 - theirs[digits.labels == k] @ ours[labels == k].T).amin(1) for k in range(10)]
    return float(torch.cat(angles).mean())


def test_without_noise_it_comes_closer_and_a_resumed_run_repeats_it(tmp_path, digits, balanced):
    first = Harness(tmp_path, digits)
    method = PrivateEvolution(SMALL, first.task, first.context)
    start = method._api.random(balanced, torch.Generator().manual_seed(0)).images
    method.fit(first.private)
    images = method.generate(balanced)
    assert accuracy(images, balanced, digits) > 0.8
    assert nearest_distance(images, balanced, digits) < 0.8 * nearest_distance(start, balanced, digits)
    resumed = Harness(tmp_path, digits)
    again = PrivateEvolution(SMALL, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert torch.equal(images, again.generate(balanced))


class Crash(Exception):
    pass


class Failing(NoiseSource):
    """Dies at the release of one step."""

    def __init__(self, at):
        super().__init__(bytes(32))
        self.at = at

    def add_gaussian(self, exact, std, charge, step=0):
        if step == self.at:
            raise Crash
        return super().add_gaussian(exact, std, charge, step)


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_killed_between_histograms_continues_as_if_never_killed(tmp_path, digits, balanced, at):
    whole = Harness(tmp_path / "whole", digits[:50], noise=NoiseSource(bytes(32)))
    method = PrivateEvolution(TINY, whole.task, whole.context)
    method.fit(whole.private)
    killed = Harness(tmp_path / "killed", digits[:50], noise=Failing(at))
    with pytest.raises(Crash):
        PrivateEvolution(TINY, killed.task, killed.context).fit(killed.private)
    resumed = Harness(tmp_path / "killed", digits[:50], noise=NoiseSource(bytes(32)))
    again = PrivateEvolution(TINY, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert torch.equal(method.generate(balanced), again.generate(balanced))
    assert len(resumed.ledger.charges) == 1


def test_more_images_than_candidates_are_fresh_variations(tmp_path, digits):
    harness = Harness(tmp_path, digits[:50])
    method = PrivateEvolution(TINY, harness.task, harness.context)
    method.fit(harness.private)
    images = method.generate(torch.zeros(15, dtype=torch.int64))
    assert torch.equal(images[:5], method._population.images[:5])
    assert len(images.unique(dim=0)) == 15


def test_more_votes_than_candidates_are_refused(harness):
    with pytest.raises(ConfigError, match="nearest = 6"):
        PrivateEvolution(TINY.model_copy(update={"nearest": 6}), harness.task, harness.context)


def test_weights_without_a_known_hash_are_refused_with_the_command(harness):
    with pytest.raises(PluginError, match=r"curl -LO https://.*imagenet64_cond_270M_250K\.pt && sha256sum"):
        PrivateEvolution(PeConfig(), harness.task, harness.context)


class Answer:
    def __init__(self, images):
        self.images = images


class StubPipeline:
    """Behaves like a pipeline of diffusers: one colour per prompt, made anew by as much as ``strength``."""

    calls = ()

    def to(self, device):
        return self

    def set_progress_bar_config(self, disable):
        assert disable

    def __call__(self, prompt, generator, output_type, num_inference_steps, image=None, strength=1.0):
        assert output_type == "np"
        StubPipeline.calls += ((len(prompt), prompt[0], num_inference_steps, strength),)
        fresh = torch.rand(len(prompt), 1, 1, 3, generator=generator).expand(-1, 16, 16, -1)
        old = fresh if image is None else image.permute(0, 2, 3, 1)
        return Answer(((1 - strength) * old + strength * fresh).numpy())


@pytest.fixture
def diffusers(monkeypatch):
    """A stub of the library, which keeps what it was asked to load."""
    module, asked = types.ModuleType("diffusers"), []

    class Text(StubPipeline):
        @classmethod
        def from_pretrained(cls, name, revision, use_safetensors):
            if name == "nobody/nothing":
                raise OSError("not found")
            asked.append((name, revision, use_safetensors))
            return cls()

    class Image(StubPipeline):
        @classmethod
        def from_pipe(cls, pipeline):
            return cls()

    module.AutoPipelineForText2Image, module.AutoPipelineForImage2Image = Text, Image
    monkeypatch.setitem(sys.modules, "diffusers", module)
    monkeypatch.setattr(StubPipeline, "calls", ())
    return asked


PIPELINE = TINY.model_copy(
    update={
        "api": "diffusers",
        "pipeline": "someone/model",
        "revision": "abc",
        "api_batch_size": 8,
        "sampling_steps": 10,
        "lookahead": 2,
    }
)


def test_a_diffusers_pipeline_evolves(diffusers, tmp_path, digits, balanced):
    harness = Harness(tmp_path, digits[:50])
    method = PrivateEvolution(PIPELINE, harness.task, harness.context)
    method.fit(harness.private)
    assert diffusers == [("someone/model", "abc", True)]
    images = method.generate(balanced[:20])
    assert images.shape == (20, 1, 8, 8)
    assert images.dtype == torch.uint8
    first, *_, last = StubPipeline.calls
    assert first == (8, "a photo of a 0", 10, 1.0)
    assert last[2:] == (10, 0.3)
    assert sum(call[0] for call in StubPipeline.calls) == 50 * (1 + 2 * (2 + 1))
    again = PrivateEvolution(PIPELINE, harness.task, Harness(tmp_path, digits[:50]).context)
    assert torch.equal(
        method._api.random(balanced, torch.Generator().manual_seed(1)).images,
        again._api.random(balanced, torch.Generator().manual_seed(1)).images,
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"revision": ""}, ConfigError, "revision=COMMIT"),
        ({"pipeline": ""}, ConfigError, "pipeline=OWNER/NAME"),
        ({"pipeline": "nobody/nothing"}, PluginError, "nobody/nothing at revision abc"),
    ],
)
def test_a_pipeline_that_cannot_be_had_is_refused(diffusers, harness, changes, error, message):
    with pytest.raises(error, match=message):
        PrivateEvolution(PIPELINE.model_copy(update=changes), harness.task, harness.context)


def test_without_the_library_the_message_says_how_to_get_it(harness, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(PluginError, match="pip install diffusers"):
        PrivateEvolution(PIPELINE, harness.task, harness.context)
