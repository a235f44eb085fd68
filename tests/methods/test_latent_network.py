"""Parts of latent diffusion: published sizes, adapters, autoencoder, DDIM."""

import math

import pytest
import torch
from torch import nn

from dpib.errors import ConfigError
from dpib_plugins.diffusion.adapters import train_only
from dpib_plugins.latent.adapters import LowRank, add_low_rank, classes_and_transformers
from dpib_plugins.latent.codec import Codec
from dpib_plugins.latent.ddpm import TIMES, ddim, loss_rows, signal_shares, times_at
from dpib_plugins.latent.unet import CONTEXT, LatentUNet


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def small(shape=(3, 4, 4), n_classes=5, multipliers=(1, 2)):
    torch.manual_seed(0)
    network = LatentUNet(shape, n_classes, 8, multipliers, (1, 2), 1)
    for parameter in network.parameters():  # nothing starts at zero
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


@pytest.mark.parametrize(
    ("width", "multipliers", "expected"),
    [
        (32, (1, 2, 2), 3_430_115),  # 3.9M with the benchmark's 1,001 labels
        (64, (1, 2), 7_107_139),
        (64, (1, 2, 2), 11_894_211),
        (64, (1, 2, 2, 4), 23_559_363),
        (96, (1, 2, 2, 3), 39_709_059),
        (128, (1, 1, 2, 4), 77_442_563),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(width, multipliers, expected):
    with torch.device("meta"):
        network = LatentUNet((3, 16, 16), 1_001, width, multipliers, (1, 2, 4), 2)
    assert count(network.parameters()) == expected + 1_001 * CONTEXT
    if width == 32:
        assert round((expected + 1_001 * CONTEXT) / 1e6, 1) == 3.9


def test_low_rank_at_28_pixels_trains_182272_of_7_29_million():
    network = LatentUNet((3, 14, 14), 10, 64, (1, 2), (1, 2), 2)
    trained = train_only(network, add_low_rank(network, ("q", "k", "v"), 8, 8.0))
    assert len(network.transformers) == 11
    assert count(trained) == count(p for p in network.parameters() if p.requires_grad) == 182_272
    assert round(count(network.parameters()) / 1e6, 2) == 7.29


def test_of_sixteen_transformers_the_last_eight_are_chosen():
    network = LatentUNet((3, 16, 16), 10)
    assert len(network.transformers) == 16
    chosen = {id(p) for p in classes_and_transformers(network, 9)}
    assert chosen == {id(p) for m in (network.classes, *network.transformers[8:]) for p in m.parameters()}
    up = [level.transformer for level in network.up]
    assert network.transformers[7:] == up  # after six on the way down and one in the middle


def test_a_low_rank_layer_starts_as_its_base_and_adds_what_its_factors_multiply_to():
    torch.manual_seed(0)
    base = nn.Linear(16, 12)
    layer, x = LowRank(base, 4, 8.0), torch.randn(3, 5, 16)
    assert torch.equal(layer(x), base(x))
    nn.init.normal_(layer.b.weight)
    torch.testing.assert_close(layer(x), base(x) + 2 * x @ (layer.b.weight @ layer.a.weight).T)
    assert 0.15 < float(LowRank(nn.Linear(512, 8), 4, 8.0).a.weight.detach().std()) < 0.35  # 1/rank


def test_the_output_projection_brings_its_bias_along():
    network = small()
    trained = {id(p) for p in add_low_rank(network, ("out",), 2, 2.0)}
    names = {name for name, p in network.named_parameters() if id(p) in trained}
    assert {name.split(".out.")[1] for name in names - {"classes.weight"}} == {"base.bias", "a.weight", "b.weight"}


def test_noise_is_estimated_for_each_latent_alone_and_depends_on_time_and_class():
    network = small()
    x, times, labels = torch.randn(4, 3, 4, 4), torch.tensor([3, 50, 500, 999]), torch.arange(4)
    together = network(x, times, labels)
    assert together.shape == x.shape
    alone = torch.cat([network(x[i : i + 1], times[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(x, times + 0, labels + 1), together, atol=1e-3)
    assert not torch.allclose(network(x, times.flip(0), labels), together, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "settings", "latent"),
    [
        ((1, 28, 28), {}, (3, 14, 14)),
        ((3, 32, 32), {}, (3, 16, 16)),
        ((3, 64, 64), {}, (3, 32, 32)),
        ((3, 128, 128), {"multipliers": (1, 2, 2)}, (3, 32, 32)),
        ((1, 28, 28), {"inner_side": 32}, (3, 16, 16)),
    ],
)
def test_latents_have_the_published_shapes(shape, settings, latent):
    codec = Codec(shape, width=8, **settings)
    images = torch.rand(2, *shape) * 2 - 1
    latents = codec.encode(images)
    assert codec.latent_shape == latents.shape[1:] == latent
    assert codec.decode(latents).shape == images.shape
    assert codec.loss_rows(images, 1e-6).shape == (2,)
    assert not latents.requires_grad


def test_a_latent_is_a_function_of_its_own_image():
    torch.manual_seed(0)
    codec, images = Codec((1, 8, 8), width=8), torch.rand(3, 1, 8, 8)
    together = codec.encode(images)
    alone = torch.cat([codec.encode(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, codec.encode(images))  # the mean: no chance


def test_the_codec_loss_is_absolute_error_plus_divergence(monkeypatch):
    codec = Codec((1, 8, 8), width=8)
    mean, log_variance = torch.full((2, 3, 4, 4), 2.0), torch.full((2, 3, 4, 4), math.log(4.0))
    monkeypatch.setattr(codec, "posterior", lambda _: (mean, log_variance))
    monkeypatch.setattr(codec.decoder, "forward", lambda latents: torch.full((2, 1, 8, 8), 0.25))
    divergence = 48 * (4 + 4 - 1 - math.log(4.0)) / 2
    expected = 0.75 + 0.1 * divergence / 64
    torch.testing.assert_close(codec.loss_rows(torch.ones(2, 1, 8, 8), 0.1), torch.full((2,), expected))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="multiple of 4"):
        Codec((1, 30, 30), width=8, multipliers=(1, 2, 2))
    with pytest.raises(ConfigError, match="fewer multipliers"):
        LatentUNet((3, 14, 14), 10, 32, (1, 2, 2))
    with pytest.raises(ConfigError, match="multiple of 8"):
        LatentUNet((3, 16, 16), 10, 36)


def test_the_schedule_ends_in_noise():
    shares = signal_shares()
    assert float(shares[0]) == pytest.approx(1 - 0.0015)
    assert float(shares[-1] / shares[-2]) == pytest.approx(1 - 0.0155)
    assert float(shares[-1]) < 2e-3
    assert times_at(torch.tensor([0.0, 0.0005, 0.5, 0.9999, 1.0], dtype=torch.float64)).tolist() == [
        0,
        0,
        500,
        999,
        999,
    ]


def test_the_loss_of_a_perfect_and_of_an_idle_network():
    torch.manual_seed(0)
    clean, noise, times = torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4), torch.tensor([0, 9, 99, 500, 900, 999])
    share = signal_shares()[times].float()[:, None, None, None]

    def perfect(noisy, _times, _labels):
        return (noisy - share.sqrt() * clean) / (1 - share).sqrt()

    assert float(loss_rows(perfect, clean, noise, times, times).max()) < 1e-6
    idle = loss_rows(lambda noisy, *_: torch.zeros_like(noisy), clean, noise, times, times)
    torch.testing.assert_close(idle, noise.square().mean(dim=(1, 2, 3)))


def gaussian_model(mean, std):
    """Return the best estimate of the noise in latents from N(mean, std²)."""
    shares = signal_shares()

    def predict(x, times):
        share = shares[times].to(x)[:, None, None, None]
        return (1 - share).sqrt() * (x - share.sqrt() * mean) / (share * std**2 + 1 - share)

    return predict


def closed_form(mean, std, steps, eta):
    """Return mean and variance that DDIM gives for a Gaussian model: every step is affine."""
    shares = signal_shares().tolist()
    times = torch.linspace(TIMES - 1, 0, steps + 1).round().long().tolist()[:-1]
    m, v = 0.0, 1.0
    for now, then in zip(times, [*times[1:], None], strict=True):
        a, b = shares[now], 1.0 if then is None else shares[then]
        slope = (1 - a) ** 0.5 / (a * std**2 + 1 - a)  # of the noise estimate in x
        s = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        keep = (b / a) ** 0.5 * (1 - (1 - a) ** 0.5 * slope) + max(1 - b - s * s, 0.0) ** 0.5 * slope
        shift = -slope * a**0.5 * mean
        m = keep * m + shift * (max(1 - b - s * s, 0.0) ** 0.5 - (b / a) ** 0.5 * (1 - a) ** 0.5)
        v = keep**2 * v + s * s
    return m, v


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_ddim_of_a_gaussian_is_the_closed_form(eta, steps):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn((250, 1, 20, 20), generator=generator, dtype=torch.float64)
    found = ddim(gaussian_model(0.7, 0.5), start, steps, eta, generator)
    mean, variance = closed_form(0.7, 0.5, steps, eta)
    n = start.numel()  # six standard deviations of the estimates: less than one seed in 1e8 fails
    assert abs(float(found.mean()) - mean) < 6 * (variance / n) ** 0.5
    assert abs(float(found.var()) - variance) < 6 * variance * (2 / n) ** 0.5 + 1e-12
    if steps == 200:
        assert (mean, variance**0.5) == pytest.approx((0.7, 0.5), abs=0.03)  # finite steps with fresh noise lose spread


def test_ddim_without_fresh_noise_is_deterministic():
    start = torch.randn((2, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    one, other = (ddim(gaussian_model(0, 1), start, 5, 0.0, torch.Generator().manual_seed(s)) for s in (1, 2))
    assert torch.equal(one, other)
    fresh = [ddim(gaussian_model(0, 1), start, 5, 1.0, torch.Generator().manual_seed(s)) for s in (1, 2)]
    assert not torch.equal(*fresh)
