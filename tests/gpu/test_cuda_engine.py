"""What bounds a record's influence and what hides it, on CUDA against float64 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.privacy.engine.batches import PhysicalBatches
from dpib.privacy.engine.hooks import Engine
from dpib.privacy.noise import NoiseSource

SECRET = bytes(range(32))
COPIES = 4


@pytest.fixture
def coarse_products() -> Iterator[None]:
    """TF32 switched on, as users do for speed."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Small(nn.Module):
    """Convolution, group norm, attention by linear layers, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(16, 16)
        self.down, self.classes = nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.Embedding(10, 32)
        self.qkv, self.layer_norm, self.out = nn.Linear(32, 96), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.down(F.silu(self.norm(self.enter(x)))) + self.classes(labels)[:, :, None, None]
        q, k, v = self.qkv(h.flatten(2).transpose(1, 2)).chunk(3, 2)
        return self.out(self.layer_norm(F.scaled_dot_product_attention(q, k, v)).mean(1))


def rows(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    images = torch.randn(n, 1, 14, 14, generator=generator) * torch.logspace(-1, 1, n)[:, None, None, None]
    noised = images.repeat_interleave(COPIES, 0) + 0.3 * torch.randn(n * COPIES, 1, 14, 14, generator=generator)
    return noised, torch.randint(10, (n * COPIES,), generator=generator)


def losses(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(net(x, labels), (labels + 1) % 10, reduction="none") * x.abs().mean((1, 2, 3))


def exact_gradients(x: Tensor, labels: Tensor) -> list[Tensor]:
    """Return every record's whole gradient, by autograd in float64 on the CPU."""
    torch.manual_seed(0)
    net = Small().double()
    found = [
        torch.autograd.grad(losses(net, part.double(), y).mean(), list(net.parameters()))
        for part, y in zip(x.split(COPIES), labels.split(COPIES), strict=True)
    ]
    return [torch.cat([g.flatten() for g in one]) for one in found]


def clipped_sum(x: Tensor, labels: Tensor, clip: float) -> Tensor:
    torch.manual_seed(0)
    net = Small().cuda()
    engine, n = Engine(net, COPIES), len(x) // COPIES
    with engine.attached():
        engine.differentiate(lambda: losses(net, x.cuda(), labels.cuda()), n)
        return torch.cat([part.flatten() for part in engine.clipped_sums(clip)]).double().cpu()


def test_clipped_sums_are_those_of_float64_on_the_cpu() -> None:
    x, labels = rows(7)
    gradients = exact_gradients(x, labels)
    norms = torch.stack([g.norm() for g in gradients])
    for clip in (0.5 * float(norms.min()), float(norms.median()) * 0.99, 2 * float(norms.max())):
        expected = sum(g * min(1.0, clip / float(norm)) for g, norm in zip(gradients, norms, strict=True))
        assert isinstance(expected, Tensor)
        assert float((clipped_sum(x, labels, clip) - expected).norm()) <= 1e-5 * float(expected.norm())


def test_more_rows_than_a_grid_has_groups() -> None:
    n = 2_100
    x, labels = rows(n)
    small = sum(clipped_sum(part, y, 1e-3) for part, y in zip(x.split(800), labels.split(800), strict=True))
    assert isinstance(small, Tensor)
    assert float((clipped_sum(x, labels, 1e-3) - small).norm()) <= 1e-5 * float(small.norm())


def test_no_record_exceeds_the_bound_with_tf32_switched_on(coarse_products: None) -> None:
    for n in range(1, 9):
        x, labels = rows(8)
        part = slice((n - 1) * COPIES, n * COPIES)
        norm = float(clipped_sum(x[part], labels[part], 1e-3).norm())
        assert norm == pytest.approx(1e-3, rel=1e-5), "clipped, and not a TF32 error above the bound"


def test_noise_is_the_secrets_and_lands_on_the_device() -> None:
    zeros = [torch.zeros(70_000), torch.zeros(3, 5)]
    here = NoiseSource(SECRET).add_gaussian(zeros, 2.0, "charge")
    there = NoiseSource(SECRET).add_gaussian([part.cuda() for part in zeros], 2.0, "charge")
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.is_cuda and torch.equal(ours, theirs.cpu())
    assert float(here[0].std()) == pytest.approx(2.0, rel=0.02)


def test_draws_inside_a_loss_are_the_secrets_and_leave_the_generators_alone() -> None:
    source, device = NoiseSource(SECRET), torch.device("cuda")
    torch.manual_seed(3)
    before = torch.cuda.get_rng_state()
    with source.secret_torch("loss", "charge", 0):
        first = torch.randn(8, device=device)
    with source.secret_torch("loss", "charge", 0):
        assert torch.equal(first, torch.randn(8, device=device))
    with source.secret_torch("loss", "charge", 1):
        assert not torch.equal(first, torch.randn(8, device=device))
    assert torch.equal(before, torch.cuda.get_rng_state())


def test_passes_are_halved_when_the_card_is_full_and_the_sum_is_the_same() -> None:
    torch.manual_seed(0)
    net = Small().cuda()
    x = torch.randn(512, 1, 112, 112, device="cuda")
    labels = torch.arange(512, device="cuda") % 10
    engine = Engine(net, 1)

    def work(batch: Tensor) -> list[Tensor]:
        with engine.attached():
            engine.differentiate(lambda: losses(net, x[batch], labels[batch]), len(batch))
            return engine.clipped_sums(1e-3)

    def total(size: int, told: list[str]) -> Tensor:
        start = [torch.zeros_like(p) for p in net.parameters()]
        parts = PhysicalBatches(size, told.append).total(torch.arange(512), start, work)
        return torch.cat([part.flatten() for part in parts]).double()

    expected = total(8, [])
    told: list[str] = []
    torch.cuda.empty_cache()
    free = 2**30
    torch.cuda.set_per_process_memory_fraction(free / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = total(512, told)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert told and told[0] == "Out of memory: continuing with at most 256 images per pass."
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())
