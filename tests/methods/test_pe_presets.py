"""What Private Evolution's presets spend and ask for, at every point of the benchmark."""

import pytest

from dpib import catalogue, config
from dpib.privacy.events import SampledGaussian
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.spec import RunSpec, delta_for
from dpib_plugins import pdp_diffusion
from dpib_plugins.pdp_diffusion.method import PdpDiffusion
from dpib_plugins.pe import dpib_synthesizers
from dpib_plugins.pe.method import PeConfig
from dpib_plugins.pe.own import cosine_level

(METHOD,) = dpib_synthesizers()
SENSITIVE = [card for card in catalogue.datasets() if card.role == "sensitive"]
POINTS = [(track, dataset) for track in catalogue.tracks() for dataset in track.datasets]


def settings(track, dataset, epsilon, variant=None):
    spec = RunSpec(method="pe", dataset=dataset, epsilon=epsilon, track=track, variant=variant)
    return config.resolve(METHOD, PeConfig, spec).config


def charged(folder, releases, nominal_size, epsilon):
    folder.mkdir(exist_ok=True)
    ledger = PrivacyLedger(
        LedgerFile(folder / "ledger.jsonl"), "train", Budget(epsilon=epsilon, delta=delta_for(nominal_size)), "session"
    )
    event = SampledGaussian(noise_multiplier=1.0, sample_rate=1.0, steps=releases)
    charge = ledger.charge("votes", event, calibrate_noise=True, sensitivity=1.0, norm="l2", sampling="full")
    return charge.event.noise_multiplier, ledger.spent()


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
@pytest.mark.parametrize("card", SENSITIVE, ids=lambda card: card.name)
def test_the_budget_is_used_and_not_exceeded_at_every_nominal_size(tmp_path, card, epsilon):
    releases = {len(settings(track.name, card.name, epsilon).degrees) for track, name in POINTS if name == card.name}
    for count in releases:
        _, spent = charged(tmp_path / str(count), count, card.task().nominal_size, epsilon)
        assert 0.98 * epsilon <= spent <= epsilon


@pytest.mark.parametrize(
    ("releases", "nominal_size", "epsilon", "sigma"),
    [(7, 55_000, 1.0, 10.90), (7, 55_000, 10.0, 1.408), (5, 45_000, 1.0, 9.107351925709143)],
)
def test_noise_is_that_of_the_privacy_reference_and_of_the_published_log(
    tmp_path, releases, nominal_size, epsilon, sigma
):
    found, _ = charged(tmp_path, releases, nominal_size, epsilon)
    assert found == pytest.approx(sigma, rel=2e-3)


PUBLISHED_THRESHOLDS = {
    "cifar10": (15, 2),
    "celeba-male-32": (15, 2),
    "fashion-mnist": (24, 3),
    "mnist": (24, 3),
    "eurosat": (24, 3),
    "camelyon17": (30, 4),
}


@pytest.mark.parametrize("dataset", PUBLISHED_THRESHOLDS)
def test_the_threshold_is_near_the_published_count(tmp_path, dataset):
    for epsilon, published in zip((1.0, 10.0), PUBLISHED_THRESHOLDS[dataset], strict=True):
        preset = settings("paper-v1", dataset, epsilon)
        nominal_size = catalogue.dataset(dataset).task().nominal_size
        sigma, _ = charged(tmp_path / str(epsilon), len(preset.degrees), nominal_size, epsilon)
        assert preset.threshold * sigma == pytest.approx(published, rel=0.11)


@pytest.mark.parametrize("dataset", catalogue.track("paper-v1").datasets)
def test_the_paper_evolves_as_many_candidates_as_it_releases(dataset):
    classes = len(catalogue.dataset(dataset).classes)
    preset = settings("paper-v1", dataset, 10.0)
    assert preset.population_per_class * classes == catalogue.track("paper-v1").n_images == 60_000


def test_iterations_are_the_published_ones():
    published = {"cifar10": 5, "cifar100": 5, "celeba-male-32": 5, "fashion-mnist": 11, "eurosat": 11, "camelyon17": 7}
    assert {name: len(settings("paper-v1", name, 10.0).degrees) for name in published} == published
    assert [len(settings("paper-v1", "mnist", epsilon).degrees) for epsilon in (1.0, 10.0)] == [10, 11]


@pytest.mark.parametrize("dataset", catalogue.track("paper-v1").datasets)
@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_own_diffusion_skips_as_many_of_its_hundred_levels_as_the_published_model_of_its_steps(dataset, epsilon):
    published, own = (settings("paper-v1", dataset, epsilon, variant) for variant in (None, "own-diffusion"))
    assert own.own_sampling_steps == 100
    skipped = [round((1 - degree) * published.sampling_steps) for degree in published.schedule()]
    assert own.schedule() == pytest.approx([1 - number / 100 for number in skipped])


@pytest.mark.parametrize("dataset", ["mnist", "cifar10-jpeg75"])
def test_on_lite_own_diffusion_ends_where_its_network_knows_its_way_and_starts_variations_above(dataset):
    own = settings("lite-v1", dataset, 10.0, "own-diffusion")
    spec = RunSpec(method="pdp-diffusion", dataset=dataset, epsilon=10.0, track="lite-v1")
    shared = config.resolve(pdp_diffusion.dpib_synthesizers()[0], PdpDiffusion.Config, spec).config
    assert own.own_level_min == shared.sampling_level_min
    assert min(cosine_level(degree) for degree in own.schedule()) > own.own_level_min
