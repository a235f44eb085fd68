"""What the paper's experiments name exists: every variant, at the size that its name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpib import catalogue, config
from dpib.grids.grid import read_grid
from dpib.spec import RunSpec, TaskInfo
from dpib_plugins.gs_wgan.networks import Generator
from dpib_plugins.nets.generators import ResidualGenerator

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CIFAR = TaskInfo(dataset="cifar10", shape=(3, 32, 32), classes=tuple("0123456789"), nominal_size=45_000)
GAN_SIZES = {"3.8m": 3.8, "6.6m": 6.6, "10m": 10.0, "14.3m": 14.3, "19.4m": 19.4}


def resolved(method, variant):
    spec = RunSpec(method=method, dataset="cifar10", epsilon=10.0, track="paper-v1", variant=variant)
    installed = catalogue.method(method)
    return config.resolve(installed.method, installed.load().Config, spec).config


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.toml")), ids=lambda path: "/".join(path.parts[-2:]))
def test_every_variant_that_a_grid_names_exists(path):
    for unit in {(one.spec.method, one.spec.variant) for one in read_grid(path).units if one.spec.variant}:
        assert resolved(*unit)


@pytest.mark.parametrize("variant", GAN_SIZES)
@pytest.mark.parametrize("method", ["dp-merf", "dp-ntk", "dp-kernel", "dp-gan"])
def test_generators_have_the_parameters_of_figure_6(method, variant):
    generator = ResidualGenerator(CIFAR.shape, CIFAR.n_classes, resolved(method, variant).g_conv_dim)
    assert sum(p.numel() for p in generator.parameters()) / 1e6 == pytest.approx(GAN_SIZES[variant], rel=0.02)


@pytest.mark.parametrize("variant", GAN_SIZES)
def test_the_generator_of_gs_wgan_is_as_large(variant):
    settings = resolved("gs-wgan", variant)
    generator = Generator(CIFAR.shape, CIFAR.n_classes, settings.width, settings.z_dim)
    assert sum(p.numel() for p in generator.parameters()) / 1e6 == pytest.approx(GAN_SIZES[variant], rel=0.02)


@pytest.mark.parametrize("size", ["11.1m", "19.6m", "44.2m", "78.5m"])
def test_private_evolution_learns_the_networks_of_pdp_diffusion(size):
    ours, theirs = resolved("pe", f"own-diffusion-{size}"), resolved("pdp-diffusion", size)
    assert ours.api == "own-diffusion"
    assert ours.pretraining_basis(CIFAR) == theirs.pretraining_basis(CIFAR)


def test_batch_and_size_are_those_of_table_xi():
    for size, width in (("3.8m", 32), ("11.1m", 64), ("19.6m", 64), ("44.2m", 96)):
        small, large = resolved("privimage", f"{size}-b4096"), resolved("privimage", f"{size}-b16384")
        assert (small.width, small.batch_size, large.batch_size) == (width, 4_096, 16_384)
        assert small.batch_size * small.steps == pytest.approx(large.batch_size * large.steps, rel=1e-2)


def test_lengths_of_pretraining_are_those_of_table_xii():
    found = [resolved("privimage", f"pretrain-{n}k").pretrain_steps for n in (25, 50, 100, 200, 400)]
    assert found == [25_000, 50_000, 100_000, 200_182, 400_364]
