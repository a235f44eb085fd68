import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from dpib_plugins.nets.generators import LABEL_DIM, ResidualGenerator, SelfAttention
from dpib_plugins.nets.rendering import BATCH, precision, render, settle_batch_norm


def count(shape, n_classes, g_conv_dim):
    return sum(p.numel() for p in ResidualGenerator(shape, n_classes, g_conv_dim).parameters())


def test_parameters_equal_the_published_log():
    # DPImageBench's log of the colour generator with a table of 1,000 labels.
    assert count((3, 32, 32), 1000, 60) == 3_965_604


@pytest.mark.parametrize(
    ("shape", "g_conv_dim", "millions"),
    [((3, 32, 32), 40, 1.81), ((3, 32, 32), 41, 1.90), ((3, 32, 32), 60, 3.84), ((3, 32, 32), 80, 6.61)],
)
def test_colour_sizes_without_the_label_table(shape, g_conv_dim, millions):
    assert (count(shape, 10, g_conv_dim) - 10 * LABEL_DIM) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("g_conv_dim", "millions"), [(40, 1.49), (41, 1.55), (60, 2.92), (96, 6.77)])
def test_grey_sizes_with_a_thousand_labels(g_conv_dim, millions):
    assert count((1, 28, 28), 1000, g_conv_dim) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_output_shape_and_range(shape):
    generator = ResidualGenerator(shape, 3, 2)
    images = generator(torch.randn(4, generator.z_dim), torch.tensor([0, 1, 2, 0])).detach()
    assert images.shape == (4, *shape)
    assert images.dtype == torch.float32
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


@pytest.mark.parametrize("shape", [(1, 30, 30), (3, 36, 36), (1, 28, 32)])
def test_impossible_sides_are_refused(shape):
    with pytest.raises(ValueError, match="divisible"):
        ResidualGenerator(shape, 10, 2)


def test_every_parameter_gets_a_gradient():
    generator = ResidualGenerator((1, 8, 8), 3, 2)
    torch.nn.init.ones_(generator.attention.scale)
    generator(torch.randn(6, generator.z_dim), torch.arange(6) % 3).square().sum().backward()
    without = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_fused_attention_equals_the_formula():
    attention = SelfAttention(16)
    torch.nn.init.ones_(attention.scale)
    x = torch.randn(2, 16, 4, 4)
    pool = torch.nn.functional.max_pool2d
    query, key, value = (attention.query(x), pool(attention.key(x), 2), pool(attention.value(x), 2))
    weights = torch.einsum("ncp,ncq->npq", query.flatten(2), key.flatten(2)).softmax(-1)
    mixed = torch.einsum("npq,ncq->ncp", weights, value.flatten(2)).view(2, 8, 4, 4)
    torch.testing.assert_close(attention(x), x + attention.out(mixed))


def test_settled_batch_norm_makes_evaluation_agree_with_training():
    torch.manual_seed(0)
    generator = ResidualGenerator((1, 8, 8), 3, 4)
    noise, labels = torch.randn(8, 64, generator.z_dim), (torch.arange(8 * 64) % 3).view(8, 64)
    settle_batch_norm(generator, noise.unbind(), labels.unbind())
    assert not generator.training
    with torch.no_grad():
        settled = generator(noise[0], labels[0])
        generator.train()
        trained = generator(noise[0], labels[0])
    assert float((settled - trained).abs().mean()) < 0.03


def test_rendering_in_batches_changes_nothing():
    generator = ResidualGenerator((1, 8, 8), 3, 2).eval()
    n = BATCH + 7
    noise, labels = torch.randn(n, generator.z_dim), torch.arange(n) % 3
    images = render(generator, noise, labels, "cpu")
    assert images.dtype == torch.uint8
    assert images.shape == (n, 1, 8, 8)
    tail = render(generator, noise[BATCH:], labels[BATCH:], "cpu")
    assert int((images[BATCH:].int() - tail.int()).abs().max()) <= 1


@pytest.mark.parametrize("normalise_labels", [False, True])
def test_all_maps_are_normalised_spectrally_and_the_label_table_if_asked(normalise_labels):
    generator = ResidualGenerator((1, 8, 8), 3, 2, normalise_labels=normalise_labels)
    maps = [m for m in generator.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert all(is_parametrized(m, "weight") for m in maps)
    assert is_parametrized(generator.labels, "weight") == normalise_labels


@pytest.mark.parametrize(
    ("capability", "asked", "dtype"),
    [
        ("AVX512", True, torch.bfloat16),
        ("AVX512", False, torch.float32),
        ("AVX2", True, torch.float32),
        ("DEFAULT", True, torch.float32),
    ],
)
def test_bfloat16_runs_only_where_the_processor_is_fast_at_it(monkeypatch, capability, asked, dtype):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    with precision("cpu", asked):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype
