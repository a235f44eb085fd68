"""The two queries: what one record moves, what is charged, what comes back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness, Silent
from public_images import N_CATEGORIES, public_images

from dpib.api import LabelledImages, classes_per_label
from dpib.errors import ConfigError, RunError
from dpib.privacy import accountants
from dpib.privacy.noise import NoiseSource
from dpib_plugins.preludes.central_images.prelude import CentralImages, CentralImagesConfig
from dpib_plugins.preludes.central_images.rendering import render
from dpib_plugins.preludes.central_images.statistics import Mean, Mode
from dpib_plugins.preludes.select_public.prelude import SelectPublic, SelectPublicConfig, Votes, choose_categories
from dpib_plugins.preludes.select_public.selector import build_selector

SELECT = SelectPublicConfig(
    share=0.5, query_noise_multiplier=20.0, selector="resnet-8", selector_steps=30, selector_batch=32,
    selector_learning_rate=0.1, selector_flip=False,
)  # fmt: skip
CENTRAL = CentralImagesConfig(central_images=3, central_batch=325, central_noise_multiplier=5.0)
K = classes_per_label(N_CATEGORIES, 10, 0.5)


class _Recorder(NoiseSource):
    """No noise, a fixed sample; keeps what it was to hide."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.exact: list[torch.Tensor] = []
        self.stds: list[float] = []

    def add_gaussian(self, exact, std, charge, step=0):
        self.exact.append(exact[0].clone())
        self.stds.append(std)
        return exact

    def poisson_sample(self, n, sample_rate, charge, step):
        return torch.arange(n)


def _select(harness, config=SELECT):
    prelude = SelectPublic(config, harness.task, harness.context.within("prelude"))
    prelude.prepare(public_images(), harness.context.within("prepared"))
    return prelude.run(harness.private, public_images())


def _central(harness, config=CENTRAL):
    return CentralImages(config, harness.task, harness.context.within("prelude")).run(harness.private, None)


def _neighbours(digits):
    """Yield records and one that is added to them: to nobody, to one, to duplicates, to an empty class, at extremes."""
    white, black = torch.full((1, 8, 8), 255, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    board = torch.zeros(1, 8, 8, dtype=torch.uint8)
    board[:, ::2] = 255
    none = digits[:0]
    no_nines = digits[digits.labels != 9][:40]
    copies = LabelledImages(white.expand(20, 1, 8, 8).clone(), torch.zeros(20, dtype=torch.int64))
    for base in (none, digits[:1], no_nines, copies):
        for image, label in ((white, 9), (black, 9), (board, 0), (digits.images[0], int(digits.labels[0]))):
            yield base, image, label


def _moved(tmp_path, digits, run):
    """Return, for each pair of neighbours and each release, how far one record moves it; added in front."""
    for number, (base, image, label) in enumerate(_neighbours(digits)):
        larger = LabelledImages(torch.cat([image[None], base.images]), torch.cat([torch.tensor([label]), base.labels]))
        releases = []
        for side, data in enumerate((base, larger)):
            noise = _Recorder()
            harness = Harness(tmp_path / f"{number}-{side}", data, noise=noise)
            run(harness)
            (charge,) = harness.ledger.charges
            assert set(noise.stds) == {charge.sensitivity * charge.event.noise_multiplier}
            releases.append(noise.exact)
        for before, after in zip(*releases, strict=True):
            yield charge, float((after - before).norm()), (after - before)[torch.arange(len(after)) != label]


@pytest.fixture(scope="module")
def trained():
    """The same classifier for all pairs: it depends on public images alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        selector = build_selector("resnet-8", 1, N_CATEGORIES).eval()
    return selector


def test_a_record_moves_the_histogram_by_exactly_the_square_root_of_k(tmp_path, digits, trained):
    def run(harness):
        prelude = SelectPublic(SELECT, harness.task, harness.context.within("prelude"))
        prelude._selector = trained
        prelude.run(harness.private, public_images())

    for charge, moved, elsewhere in _moved(tmp_path, digits, run):
        assert charge.sensitivity == math.sqrt(K)
        assert moved == pytest.approx(math.sqrt(K), rel=1e-9)  # tight, and its votes are all for different classes
        assert not elsewhere.any()


@pytest.mark.parametrize("kind", ["mean", "mode"])
def test_a_record_moves_a_central_sum_by_at_most_the_bound_and_reaches_it(tmp_path, digits, kind):
    config = CENTRAL.model_copy(update={"kind": kind})
    largest = 0.0
    for charge, moved, elsewhere in _moved(tmp_path, digits, lambda harness: _central(harness, config)):
        assert moved <= charge.sensitivity * (1 + 1e-9)
        assert not elsewhere.any()
        largest = max(largest, moved / charge.sensitivity)
    assert largest > 0.99


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=3 * 49, max_size=3 * 49), st.sampled_from([1, 2, 4]), st.integers(2, 256))
def test_rows_of_any_image_have_a_bounded_norm(pixels, factor, bins):
    images = torch.tensor(pixels, dtype=torch.uint8).view(1, 3, 7, 7)
    for centre in (Mean((3, 7, 7), factor), Mode((3, 7, 7), factor, bins)):
        norm = float(torch.linalg.vector_norm(centre.rows(images, torch.zeros(1)).double()))
        assert norm <= centre.norm * (1 + 1e-6)


def test_votes_of_a_record_do_not_depend_on_its_neighbours(trained, digits):
    votes = Votes(trained, N_CATEGORIES, K)
    together = votes(digits.images[:40], digits.labels[:40])
    alone = torch.cat([votes(image[None], torch.zeros(1)) for image in digits.images[:40]])
    assert torch.equal(together, alone)
    assert together.sum(1).tolist() == [K] * 40
    assert set(together.unique().tolist()) == {0.0, 1.0}


def test_classes_are_taken_once_by_the_labels_in_turn():
    histogram = torch.tensor([[9.0, 8.0, 1.0, -5e3], [9.0, 8.0, -7e3, -6e3]])
    assert choose_categories(histogram, 2) == {0: 0, 1: 0, 3: 1, 2: 1}


@pytest.mark.parametrize(
    ("n_categories", "n_classes", "share", "expected"),
    [(1000, 10, 0.05, 5), (1000, 2, 0.05, 25), (1000, 100, 0.1, 1), (1000, 100, 0.05, 1), (200, 10, 0.05, 1)],
)
def test_how_many_classes_a_label_takes(n_categories, n_classes, share, expected):
    assert classes_per_label(n_categories, n_classes, share) == expected


def test_fewer_public_than_private_classes_are_refused():
    with pytest.raises(ConfigError, match="9 public classes"):
        classes_per_label(9, 10, 0.05)


def test_without_noise_the_selection_finds_the_classes_that_the_records_show(tmp_path):
    """Records that are public images: label y shows the public class 10 + y, which is to be found for it."""
    public = public_images(n=800)
    categories, _ = public.card_classes()
    shown = (categories >= 10) & (categories < 20)
    records = LabelledImages(public.data.images[shown], categories[shown] % 10)
    harness = Harness(tmp_path, records, noise=Silent())
    config = SELECT.model_copy(update={"selector_steps": 150, "share": 0.25})
    prelude = SelectPublic(config, harness.task, harness.context.within("prelude"))
    prelude.prepare(public, harness.context.within("prepared"))
    selected = prelude.run(harness.private, public)
    categories, _ = selected.card_classes()
    assert sorted(set(categories.tolist())) == list(range(10, 20))
    assert torch.equal(selected.data.labels, categories % 10)


def test_the_selection_is_charged_once_and_keeps_images_and_labels_together(harness):
    selected = _select(harness)
    (charge,) = harness.ledger.charges
    assert (charge.event.noise_multiplier, charge.event.sample_rate, charge.event.steps) == (20.0, 1.0, 1)
    assert charge.event == SELECT.fixed_releases(harness.task)["query_noise_multiplier"]
    categories, _ = selected.card_classes()
    pairs = set(zip(categories.tolist(), selected.data.labels.tolist(), strict=True))
    assert len(pairs) == len({category for category, _ in pairs}) == 10 * K
    assert sorted(label for _, label in pairs) == sorted(list(range(10)) * K)
    source = public_images()
    assert torch.equal(selected.data.images, source.data.images[torch.isin(source.categories, categories)])


def test_selection_needs_public_images(harness):
    with pytest.raises(RunError, match="--public"):
        SelectPublic(SELECT, harness.task, harness.context).run(harness.private, None)


def test_a_prepared_selector_is_found_again_and_its_noise_is_fresh(tmp_path, digits):
    runs = [Harness(tmp_path / name, digits[:50], noise=NoiseSource.from_os()) for name in ("a", "b")]
    histograms = []
    for run in runs:
        _select(run)
        histograms.append(torch.load(tmp_path / run.folder.name / "prelude" / "semantic-query.pt"))
    assert float((histograms[0] - histograms[1]).std()) == pytest.approx(20 * math.sqrt(2 * K), rel=0.2)


def test_central_images_are_charged_as_one_sampled_series(harness):
    released = _central(harness)
    (charge,) = harness.ledger.charges
    event = charge.event
    assert (event.noise_multiplier, event.sample_rate, event.steps) == (5.0, 325 / 1297, 3)
    assert event == CENTRAL.fixed_releases(harness.task)["central_noise_multiplier"]
    assert charge.sensitivity == math.sqrt(16) / 2
    assert harness.ledger.spent() == pytest.approx(accountants.epsilon([event], harness.ledger.budget.delta), rel=1e-9)
    assert released.data.images.shape == (30, 1, 8, 8)
    assert released.data.labels.tolist() == list(range(10)) * 3
    assert released.spec is None


@pytest.mark.parametrize("kind", ["mean", "mode"])
def test_without_noise_central_images_resemble_their_class(tmp_path, digits, kind):
    harness = Harness(tmp_path, digits, noise=Silent())
    released = _central(harness, CENTRAL.model_copy(update={"kind": kind, "downscale": 1, "central_batch": 1297})).data
    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    rows = released.images.float().flatten(1)
    nearest = torch.corrcoef(torch.cat([rows, means]))[: len(rows), len(rows) :].argmax(1)
    assert float((nearest == released.labels).float().mean()) >= 0.8


def test_a_mean_is_divided_by_a_constant_and_an_empty_class_is_grey(tmp_path, digits):
    """Half the records give half the contrast: nothing private is divided by."""
    centre = Mean((1, 8, 8), 1)
    white = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    row = centre.rows(white, torch.zeros(1))[0]
    assert centre.read(100 * row, 100).unique().tolist() == [1.0]
    assert centre.read(50 * row, 100).unique().tolist() == [0.75]
    assert centre.read(0 * row, 100).unique().tolist() == [0.5]
    assert int(render(torch.full((1, 1, 4, 4), 0.5), (1, 8, 8)).unique()) == 128


def test_rendering_enlarges_smooths_and_sharpens_grey_alone():
    small = torch.zeros(2, 3, 4, 4)
    small[:, :, :, 2:] = 1.0
    colour = render(small, (3, 8, 8))
    grey = render(small[:, :1], (1, 8, 8))
    assert colour.shape == (2, 3, 8, 8) and grey.shape == (2, 1, 8, 8)
    assert torch.equal(colour[0, 0], colour[0, 2])
    assert (colour[0, 0, 4].diff() >= 0).all()
    step = grey[0, 0, 4].int()
    assert int(step.diff().max()) > int(colour[0, 0, 4].int().diff().max())
    dot = torch.zeros(1, 1, 8, 8)
    dot[0, 0, 3, 3] = 1.0
    assert not render(dot, (1, 8, 8)).any()
