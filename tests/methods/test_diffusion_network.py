"""The parts of the diffusion package on their own: sizes, preconditioning, samplers, averages, noise, adapters."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpib.api import ConfigError
from dpib.context import RunContext
from dpib.progress import Reporter
from dpib.seeds import Seeds
from dpib_plugins.diffusion.adapters import conditioning_and_attention, train_only
from dpib_plugins.diffusion.edm import SIGMA_DATA, Levels, denoise, loss_rows, scaled, to_uint8
from dpib_plugins.diffusion.noise import NoisePool
from dpib_plugins.diffusion.samplers import SIGMA_MAX, Sampler
from dpib_plugins.diffusion.unet import UNet
from dpib_plugins.nets.averaging import moving_average, plain_mean

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize(
    ("shape", "classes", "width", "multipliers", "attention", "expected"),
    [
        (GREY, 10, 32, (2, 2), (14,), 1_485_217),
        (GREY, 1000, 32, (2, 2), (14,), 1_516_897),
        (COLOUR, 10, 32, (2, 4), (16,), 3_835_619),
        (COLOUR, 1000, 32, (2, 4), (16,), 3_867_299),
        ((3, 64, 64), 2, 32, (1, 2, 4), (32, 16), 4_153_219),
        ((3, 128, 128), 2, 32, (1, 2, 4), (64, 32), 4_153_219),
        (COLOUR, 10, 64, (1, 2, 3), (16, 8), 11_172_547),
        (COLOUR, 10, 64, (1, 2, 2, 4), (16, 8, 4), 19_646_467),
        (COLOUR, 10, 96, (1, 2, 2, 4), (16, 8, 4), 44_166_147),
        (COLOUR, 10, 128, (1, 2, 2, 4), (16, 8, 4), 78_483_459),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(shape, classes, width, multipliers, attention, expected):
    with torch.device("meta"):
        network = UNet(shape, classes, width, multipliers, attention)
    assert count(network.parameters()) == expected


@pytest.mark.parametrize(
    ("shape", "classes", "multipliers", "attention", "expected"),
    [
        (COLOUR, 10, (2, 4), (16,), 286_176),
        (COLOUR, 1000, (2, 4), (16,), 317_856),
        (GREY, 1000, (2, 2), (14,), 119_648),
    ],
)
def test_dp_ldm_trains_the_published_number_of_parameters(shape, classes, multipliers, attention, expected):
    with torch.device("meta"):
        network = UNet(shape, classes, 32, multipliers, attention)
    chosen = train_only(network, conditioning_and_attention(network))
    assert count(chosen) == count(p for p in network.parameters() if p.requires_grad) == expected


def awakened(network, seed=0):
    """Give random weights to what starts at zero, so that outputs mean something."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("patch", [1, 2])
def test_an_output_depends_on_its_own_image_level_and_label_alone(patch):
    network = awakened(UNet((1, 8, 8), 3, 8, (1, 2), (4,), 1, patch)).double()
    images, level = torch.randn(4, 1, 8, 8).double(), torch.tensor([-1.0, 0.0, 0.3, 1.0]).double()
    labels = torch.tensor([0, 1, 2, 3])
    together = network(images, level, labels)
    alone = torch.cat([network(images[i : i + 1], level[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(network(images, level, labels.flip(0)), together)
    assert not torch.allclose(network(images, level + 1, labels), together)


def test_a_new_network_predicts_nothing():
    network = UNet((1, 8, 8), 3, 8, (1,), (), 1)
    images, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 2.0])
    c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    expected = c_skip[:, None, None, None] * images
    torch.testing.assert_close(denoise(network, images, sigma, torch.tensor([0, 1])), expected)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [((1, 28, 28), {"multipliers": (1, 2, 2, 2)}), ((1, 8, 12), {}), (COLOUR, {"width": 6}), (COLOUR, {"patch": 5})],
)
def test_sizes_that_do_not_fit_are_refused_with_a_reason(shape, settings):
    with pytest.raises(ConfigError, match="expected a"):
        UNet(shape, 2, **settings)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.002, 80), st.integers(0, 1000))
def test_the_loss_is_the_weighted_squared_error_and_zero_for_a_perfect_denoiser(level, seed):
    generator = torch.Generator().manual_seed(seed)
    clean, noise, answer = (torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    sigma, labels = torch.full((3,), level, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    noisy, root = clean + level * noise, math.sqrt(level**2 + SIGMA_DATA**2)

    def network(x, c_noise, _):
        torch.testing.assert_close(x, noisy / root)
        torch.testing.assert_close(c_noise, sigma.log() / 4)
        return answer

    weight = (level**2 + SIGMA_DATA**2) / (level * SIGMA_DATA) ** 2
    error = (denoise(network, noisy, sigma, labels) - clean).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(loss_rows(network, clean, noise, sigma, labels), weight * error, rtol=1e-6, atol=1e-9)
    answer = (clean - SIGMA_DATA**2 / root**2 * noisy) / (level * SIGMA_DATA / root)
    torch.testing.assert_close(denoise(network, noisy, sigma, labels), clean, rtol=1e-6, atol=1e-6)
    assert float(loss_rows(network, clean, noise, sigma, labels).max()) < 1e-20


def test_pixels_survive_scaling():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(scaled(values)), values)
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


MEAN, SPREAD = 0.3, 0.2


def gaussian(x, sigma):
    """Denoise N(MEAN, SPREAD²) optimally."""
    return MEAN + SPREAD**2 / (SPREAD**2 + sigma[:, None, None, None] ** 2) * (x - MEAN)


@pytest.mark.parametrize(("sampler", "off"), [(Sampler("euler", 250), 0.05), (Sampler("heun", 80), 0.02)])
def test_a_deterministic_sampler_follows_the_exact_path_of_a_gaussian(sampler, off):
    unit = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    start = MEAN + math.sqrt(SIGMA_MAX**2 + SPREAD**2) * unit
    found = sampler(gaussian, start, torch.Generator())
    torch.testing.assert_close(found, MEAN + SPREAD * unit, rtol=0, atol=off * SPREAD)


def test_churn_leaves_mean_and_spread_of_a_gaussian():
    generator, n = torch.Generator().manual_seed(0), 20_000
    start = SIGMA_MAX * torch.randn(n, 1, 1, 1, generator=generator, dtype=torch.float64)
    found = Sampler("heun", 60, churn=10, churn_min=0.02, churn_max=50)(gaussian, start, generator)
    still = Sampler("heun", 60)(gaussian, start, generator)
    assert float((found - still).abs().mean()) > 0.1 * SPREAD
    assert float((found.mean() - MEAN).abs()) < 6 * SPREAD / math.sqrt(n)
    assert float(found.std()) == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler("euler", 250),
        Sampler("heun", 18),
        Sampler("euler", 1),
        Sampler("heun", 1),
        Sampler("heun", 7, lowest=0.5),
    ],
)
def test_a_sampler_evaluates_as_often_as_it_says_and_ends_with_a_denoised_image(sampler):
    seen = []

    def constant(x, sigma):
        seen.append(float(sigma[0]))
        return torch.full_like(x, 0.25)

    found = sampler(constant, torch.randn(2, 1, 2, 2, dtype=torch.float64) * SIGMA_MAX, torch.Generator())
    torch.testing.assert_close(found, torch.full_like(found, 0.25))
    assert len(seen) == sampler.evaluations
    assert seen[0] == pytest.approx(SIGMA_MAX)
    assert sampler.steps == 1 or seen[-1] == pytest.approx(sampler.lowest)


def test_the_average_warms_up():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average, expected = moving_average(network, 0.5), 0.0
    for n in range(1, 12):
        network.weight.data.fill_(float(n))
        average.update_parameters(network)
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * n
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_until_the_decay_is_reached_the_ramp_of_gs_wgan_makes_the_mean_of_all_updates():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(-100.0)
    average = moving_average(network, 0.999, plain_mean)
    for n in range(1, 101):
        network.weight.data.fill_(float(n))
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(50.5, rel=1e-5)


@pytest.fixture
def pool(tmp_path: Path) -> NoisePool:
    context = RunContext(tmp_path, "cpu", Seeds(0), Reporter())
    return NoisePool("fit", context, (1, 8, 8), size=64, copies=8, dropout=0.1, null=10)


def test_noise_of_a_record_depends_on_the_record_alone_and_is_new_in_every_step(pool, digits):
    together = pool.draw(digits.images[:20], digits.labels[:20])
    for i in (0, 7, 19):
        alone = pool.draw(digits.images[i : i + 1], digits.labels[i : i + 1])
        assert all(torch.equal(a, b[8 * i : 8 * i + 8]) for a, b in zip(alone, together, strict=True))
    state = pool.state_dict()
    pool.refill(1)
    later = pool.draw(digits.images[:20], digits.labels[:20])
    assert not any(torch.equal(a, b) for a, b in zip(later, together, strict=True))
    pool.load_state_dict(state)
    again = pool.draw(digits.images[:20], digits.labels[:20])
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))


def test_noise_is_normal_levels_are_stratified_and_a_tenth_of_the_labels_is_dropped(pool, digits):
    noise, sigma, labels = pool.draw(digits.images, digits.labels)
    n = len(digits)
    assert float(noise.mean().abs()) < 0.06 and float(noise.std()) == pytest.approx(1, abs=0.04)  # 4,096 numbers
    assert float(noise.flatten(1).std(1).min()) > 0.5  # never an image twice
    quantiles = torch.special.ndtr((sigma.double().log() + 1.2) / 1.2).view(n, 8)
    assert torch.equal((quantiles * 8 + 1e-6).long().clamp(max=7), torch.arange(8).expand(n, 8))
    dropped = labels == 10
    assert float(dropped.float().mean()) == pytest.approx(0.1, abs=8 * math.sqrt(0.09 / (8 * n)))
    assert torch.equal(labels[~dropped], digits.labels.repeat_interleave(8)[~dropped])


def test_levels_follow_the_published_distribution():
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    logs = Levels().at(uniform).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=1e-3) and float(logs.std()) == pytest.approx(1.2, abs=1e-3)
