import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import Harness
from torch import nn

from dpib import catalogue, config
from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import PublicDataset
from dpib.privacy.rows import clipped_sum
from dpib.spec import RunSpec
from dpib_plugins.dp_ntk.features import TangentFeatures
from dpib_plugins.dp_ntk.method import DpNtk, DpNtkConfig

SMALL = DpNtkConfig(
    first_width=40,
    n_outputs=10,
    g_conv_dim=4,
    steps=80,
    batch_size=100,
    decay_every=40,
    averaging=0.9,
    pretrain_steps=5,
)
NETWORKS = {"grey": ((12,), True), "colour": ((6, 9), False)}


def features(network, n_pixels=64, n_outputs=7):
    widths, rectify_last = NETWORKS[network]
    return TangentFeatures(n_pixels, widths, n_outputs, rectify_last, torch.Generator().manual_seed(0), "cpu")


def dense(pairs):
    return torch.cat([torch.einsum("bp,bq->bpq", *pair).flatten(1) for pair in pairs], dim=1)


def by_autograd(tangent, network, images):
    """The gradients of all weights of the same network built from PyTorch's modules, one image at a time."""
    parts = []
    for index, (weight, bias) in enumerate(tangent._layers):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight.clone(), bias.clone()
        parts.append(linear)
        if index < len(tangent._layers) - 2:
            parts.append(nn.ReLU())
        elif index == len(tangent._layers) - 2:
            parts += [nn.ReLU()] if NETWORKS[network][1] else []
            parts.append(nn.LayerNorm(weight.shape[0], elementwise_affine=False))
    net = nn.Sequential(*parts)
    rows = []
    for image in images:
        net.zero_grad()
        net(image.flatten()[None]).sum().backward()
        row = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
        rows.append(row / row.norm())
    return torch.stack(rows)


@pytest.mark.parametrize("network", NETWORKS)
def test_inner_products_are_those_of_the_full_gradient(network):
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    tangent = features(network)
    ours, full = dense(tangent.factors(images)), by_autograd(tangent, network, images)
    assert ours.shape[1] < full.shape[1]
    torch.testing.assert_close(ours @ ours.T, full @ full.T, rtol=1e-4, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=64, max_size=64), st.sampled_from(sorted(NETWORKS)))
def test_every_feature_vector_has_norm_one(pixels, network):
    images = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 8, 8)
    rows = features(network).of_bytes(images, torch.zeros(1, dtype=torch.int64))
    assert float(dense(rows.pairs).double().norm()) == pytest.approx(1, abs=1e-5)


def test_sums_are_those_of_the_statistic_and_differentiable():
    images = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(30) % 3
    tangent = features("colour")
    pixels = (images / 255).requires_grad_()
    sums = tangent.sums(pixels, labels, 4)
    expected = clipped_sum(tangent.of_bytes(images, labels), labels, 4, 1.0)
    torch.testing.assert_close(sums.double(), expected, rtol=1e-4, atol=1e-5)
    sums.square().sum().backward()
    step = 1e-3
    moved = pixels.detach() + step * pixels.grad
    gain = tangent.sums(moved, labels, 4).square().sum() - sums.square().sum()
    assert float(gain.detach()) == pytest.approx(step * float(pixels.grad.square().sum()), rel=0.05)


def test_one_release_with_sensitivity_one(tmp_path, digits):
    harness = Harness(tmp_path, digits[:50], epsilon=1.0)
    DpNtk(SMALL.model_copy(update={"steps": 1}), harness.task, harness.context).fit(harness.private)
    (charge,) = harness.ledger.charges
    assert (charge.sensitivity, charge.event.steps, charge.event.sample_rate) == (1.0, 1, 1.0)
    assert 0.98 < harness.ledger.spent() <= 1
    total = harness.context.recall("embedding")
    assert total.shape == (10, 40 * 65 + 41)
    assert float(total[digits.labels[:50].bincount(minlength=10) == 0].abs().sum()) == 0


def test_without_noise_it_learns_classes_and_a_resumed_run_repeats_it(tmp_path, digits, balanced):
    first = Harness(tmp_path, digits)
    method = DpNtk(SMALL, first.task, first.context)
    method.fit(first.private)
    images = method.generate(balanced)
    means = torch.stack([digits.images[digits.labels == k].float().mean(0).flatten() for k in range(10)])
    nearest = torch.cdist(images.float().flatten(1), means).argmin(1)
    assert float((nearest == balanced).float().mean()) > 0.8
    resumed = Harness(tmp_path, digits)
    again = DpNtk(SMALL, resumed.task, resumed.context)
    again.fit(resumed.private)
    assert torch.equal(images, again.generate(balanced))


def test_pretraining_touches_no_private_data(harness, digits, balanced):
    method = DpNtk(SMALL, harness.task, harness.context)
    before = method.generate(balanced)
    method.pretrain(PublicDataset(DIGITS, digits[:100]), Harness(harness.folder / "cache", digits).context)
    assert not torch.equal(before, method.generate(balanced))
    assert harness.ledger.charges == ()


@pytest.mark.parametrize("size", [30, 7])
def test_chunks_add_up_to_the_gradient_of_the_whole_batch(size, harness):
    gradients = []
    for chunk in (size, 100):
        method = DpNtk(SMALL.model_copy(update={"generator_physical_batch": chunk}), harness.task, harness.context)
        method.generator.eval()  # batch norm averages over a chunk
        random = torch.Generator().manual_seed(0)
        noise, labels = torch.randn(100, method.generator.z_dim, generator=random), torch.arange(100) % 10
        features = method.features(harness.context)
        target = 1e-3 * torch.randn(10, 40 * 65 + 41, generator=random)
        method._accumulate(features, target, noise, labels)
        gradients.append([parameter.grad for parameter in method.generator.parameters()])
        expected = method.generator(noise, labels)
        distance = (features.sums(expected, labels, 10) / 100 - target).square().sum()
        oracle = torch.autograd.grad(distance, list(method.generator.parameters()))
    assert max(float(gradient.abs().max()) for gradient in oracle) > 1e-4
    for one, other, exact in zip(*gradients, oracle, strict=True):
        torch.testing.assert_close(one, exact, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(other, exact, rtol=1e-3, atol=1e-7)


def test_paper_presets_have_the_published_network_of_every_dataset():
    plugin = catalogue.method("dp-ntk")

    def network(dataset, track="paper-v1"):
        spec = RunSpec(method="dp-ntk", dataset=dataset, epsilon=10.0, track=track)
        one = config.resolve(plugin.method, DpNtkConfig, spec).config
        return one.first_width, one.second_width, one.rectify_last, one.batch_size

    grey, colour = (800, 0, True), (32, 256, False)
    for dataset in catalogue.track("paper-v1").datasets:
        batch = 2_500 if dataset == "cifar10" else 5_000
        channels = catalogue.dataset(dataset).shape[0]
        assert network(dataset) == (*(grey if channels == 1 else colour), batch)
    for dataset in catalogue.track("lite-v1").datasets:
        channels = catalogue.dataset(dataset).shape[0]
        assert network(dataset, "lite-v1")[:3] == (grey if channels == 1 else colour)


def test_the_published_network_has_the_published_number_of_weights():
    tangent = TangentFeatures(784, (800,), 1000, True, torch.Generator().manual_seed(0), "cpu")
    assert sum(math.prod(weight.shape) + len(bias) for weight, bias in tangent._layers) == 1_429_000
