"""The engine against plain autograd, record by record, on nets of every layer it has a rule for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.errors import RunError, UnsupportedMechanism
from dpib.privacy.engine import kernels, layers
from dpib.privacy.engine.hooks import Engine
from dpib.privacy.engine.kernels import Convolution
from dpib.privacy.engine.tuning import Kernels

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
LABELS = 5


class Everything(nn.Module):
    """Each rule with its options, attention from projections, and a layer that Opacus samples."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.grouped = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4, bias=False)
        self.classes = nn.Embedding(LABELS, 8, padding_idx=0)
        self.q, self.k = nn.Conv2d(8, 8, 1), nn.Linear(8, 8)
        self.layer_norm = nn.LayerNorm((16, 8))
        self.same = nn.Conv2d(8, 6, (3, 2), padding="same", dilation=(1, 2))
        self.mirrored = nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")
        self.pointwise = nn.Conv2d(6, 6, 1, stride=2)
        self.up = nn.ConvTranspose2d(6, 3, 2)
        self.out = nn.Linear(27, LABELS)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.grouped(F.silu(self.norm(self.enter(x)))) + self.classes(labels)[:, :, None, None]
        q, k = self.q(h).flatten(2), self.k(h.flatten(2).transpose(1, 2))
        h = h + self.layer_norm(torch.softmax(k @ q, 2) @ k).transpose(1, 2).view_as(h)
        return self.out(self.up(self.pointwise(torch.tanh(self.mirrored(self.same(h))))).flatten(1))


class Recurrent(nn.Module):
    """Reuses its layers, and ties one weight to another."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2, 6, 3, padding=1, stride=2)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.tied = nn.Conv2d(6, 6, 3, padding=1)
        self.tied.weight = self.again.weight
        self.classes = nn.Embedding(LABELS, 6)
        self.up = nn.ConvTranspose2d(6, 6, 1)
        self.out = nn.Linear(6, LABELS)
        self.out.weight = self.classes.weight

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.enter(x) + (self.classes(labels) + self.classes((labels + 1) % LABELS))[:, :, None, None]
        h = torch.tanh(self.again(torch.tanh(self.again(h)))) + self.up(self.up(self.tied(h)))
        return self.out(h.mean((2, 3)))


Loss = Callable[[Tensor, Tensor], Tensor]


def make(kind: type[nn.Module], dtype: torch.dtype, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().to(dtype)


def make_rows(n: int, copies: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows (n·copies, 2, 8, 8), image-major, another noise in every copy; gradients of very different lengths."""
    generator = torch.Generator().manual_seed(n * copies)
    images = torch.randn(n, 2, 8, 8, generator=generator) * torch.logspace(-1, 1, n)[:, None, None, None]
    rows = images.repeat_interleave(copies, 0) + 0.3 * torch.randn(n * copies, 2, 8, 8, generator=generator)
    return rows.to(dtype), torch.randint(LABELS, (n * copies,), generator=generator)


def losses(net: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Steeper for larger rows, so that some gradients are long and some short."""
    return F.cross_entropy(net(rows, labels), (labels + 1) % LABELS, reduction="none") * rows.abs().mean((1, 2, 3))


def by_hand(net: nn.Module, rows: Tensor, labels: Tensor, copies: int) -> list[list[Tensor]]:
    parameters = [p for p in net.parameters() if p.requires_grad]
    found = []
    for x, y in zip(rows.split(copies), labels.split(copies), strict=True):
        found.append(list(torch.autograd.grad(losses(net, x, y).mean(), parameters)))
    return found


def assert_clipped_sums_agree(
    net: nn.Module, n: int, copies: int, dtype: torch.dtype, choose: Callable[[Engine], None] | None = None
) -> None:
    rows, labels = make_rows(n, copies, dtype)
    gradients = by_hand(net, rows, labels, copies)
    norms = torch.stack([torch.cat([g.flatten() for g in one]).double().norm() for one in gradients])
    assert float(norms.min()) > 0
    engine = Engine(net, copies)
    for clip in (0.5 * float(norms.min()), float(norms.sort().values[n // 2]) * 0.99, 2 * float(norms.max())):
        with engine.attached():
            if choose is not None:
                engine.differentiate(lambda: losses(net, rows, labels), n)
                choose(engine)
            engine.differentiate(lambda: losses(net, rows, labels), n)
            sums = engine.clipped_sums(clip)
        factors = (clip / norms).clamp(max=1)
        if clip > norms.max():
            assert bool((factors == 1).all())
        elif n > 1:
            assert bool((norms > clip).any()), "clipping must have happened"
        expected = [
            sum(f.to(dtype) * g for f, g in zip(factors, column, strict=True))
            for column in zip(*gradients, strict=True)
        ]
        size = torch.cat([e.flatten() for e in expected]).norm()  # type: ignore[union-attr]
        for name, ours, theirs in zip(engine.parameters, sums, expected, strict=True):
            assert float((ours - theirs).norm()) <= TOLERANCE[dtype] * float(size), name
    if n > 2:
        middle = float(norms.sort().values[n // 2]) * 0.99
        assert bool((norms > middle).any()) and bool((norms < middle).any())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("copies", [1, 4, 32])
@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("kind", [Everything, Recurrent])
def test_clipped_sums_equal_autograd_record_by_record(
    kind: type[nn.Module], n: int, copies: int, dtype: torch.dtype
) -> None:
    assert_clipped_sums_agree(make(kind, dtype, seed=n), n, copies, dtype)


@pytest.mark.parametrize("name", ["looped", "grouped", "by_row", "unfolded", "accumulated", "batched", "gram"])
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("kind", [Everything, Recurrent])
def test_every_kernel_gives_the_same_clipped_sum(kind: type[nn.Module], copies: int, name: str) -> None:
    taken = 0

    def choose(engine: Engine) -> None:
        nonlocal taken
        for key, site in engine.kernels.met.items():
            if hasattr(site.shape, name) and not (name == "gram" and getattr(site.shape, "groups", 1) > 1):
                engine.kernels.chosen[key] = name
                taken += 1

    assert_clipped_sums_agree(make(kind, torch.float64), 5, copies, torch.float64, choose)
    assert taken > 0


def test_a_pass_too_large_for_a_call_is_cut_and_the_sums_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_GROUPS_AT_MOST", 5)
    monkeypatch.setattr(kernels, "ROWS_AT_ONCE", 7)
    assert_clipped_sums_agree(make(Everything, torch.float64), 7, 3, torch.float64)


@pytest.mark.parametrize(
    "shape",
    [
        Convolution((3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
        Convolution((4, 1, 3, 2), (2, 1), (0, 2), (2, 1), 4),
        Convolution((3, 4, 1, 1), (2, 2), (1, 0), (1, 1), 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_windows_by_one_copy_are_those_of_unfold(shape: Convolution, layout: torch.memory_format) -> None:
    x = torch.randn(5, shape.weight[1] * shape.groups, 9, 8).contiguous(memory_format=layout)
    expected = F.unfold(x, shape.weight[2:], shape.dilation, shape.padding, shape.stride)
    assert torch.equal(shape.windows(x), expected)


@pytest.mark.parametrize("frozen", ["enter", "norm", "grouped", "classes", "layer_norm", "up", "out", "q", "same"])
def test_frozen_layers_get_no_gradient_and_change_no_other(frozen: str) -> None:
    net = make(Everything, torch.float64)
    net.get_submodule(frozen).requires_grad_(False)
    assert_clipped_sums_agree(net, 5, 2, torch.float64)


@pytest.mark.parametrize("kept", ["weight", "bias"])
def test_half_a_layer_may_be_frozen(kept: str) -> None:
    net = make(Everything, torch.float64)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.endswith(kept))
    assert_clipped_sums_agree(net, 5, 2, torch.float64)


def test_layers_without_a_bias_have_rules_too() -> None:
    net = nn.Sequential(nn.Linear(8, 6, bias=False), nn.LayerNorm(6, bias=False), nn.Linear(6, LABELS, bias=False))

    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return self.net(x).mean((1, 2))

    assert_clipped_sums_agree(Labelled().double(), 5, 2, torch.float64)


class ChannelsLast(Everything):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last), labels)


def test_channels_last_rows_give_the_same_sums() -> None:
    net = make(ChannelsLast, torch.float64).to(memory_format=torch.channels_last)
    assert_clipped_sums_agree(net, 5, 2, torch.float64)


def test_the_model_is_its_old_self_afterwards() -> None:
    net = make(Everything, torch.float64)
    before = {name: sorted(vars(module)) for name, module in net.named_modules()}
    rows, labels = make_rows(3, 2, torch.float64)
    engine = Engine(net, 2)
    with engine.attached():
        engine.differentiate(lambda: losses(net, rows, labels), 3)
    assert {name: sorted(vars(module)) for name, module in net.named_modules()} == before
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in net.parameters())
    assert engine.fallbacks == ["up (ConvTranspose2d)"]
    torch.autograd.grad(losses(net, rows, labels).sum(), list(net.parameters()))


def test_layers_under_no_grad_are_left_alone() -> None:
    net = make(Everything, torch.float64)
    rows, labels = make_rows(3, 2, torch.float64)

    def loss() -> Tensor:
        with torch.no_grad():
            guess = net(rows[:1], labels[:1]).argmax()
        return losses(net, rows, labels) + 0 * guess

    engine = Engine(net, 2)
    with engine.attached():
        engine.differentiate(loss, 3)
        assert [g.shape[0] for g in engine.gradients()] == [3] * len(engine.parameters)


# ---- what cannot be clipped record by record is refused by name ----


def refuse(net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], match: str) -> None:
    rows, labels = make_rows(3, 2, torch.float64)
    engine = Engine(net, 2)
    with engine.attached(), pytest.raises(UnsupportedMechanism, match=match):
        engine.differentiate(lambda: loss(rows, labels), 3)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["out.weight", "norm.bias", "up.weight"])
def test_a_parameter_that_is_also_used_outside_of_its_layer_is_refused(name: str) -> None:
    """Its layer's share is clipped; the rest, e.g. a penalty on the weight, would not be seen by any layer."""
    net = make(Everything, torch.float64)

    def loss(rows: Tensor, labels: Tensor) -> Tensor:
        return losses(net, rows, labels) * net.get_parameter(name).square().sum()

    refuse(net, loss, rf"{name} do not add up")


def test_wrong_gradients_of_opacus_are_refused() -> None:
    """Its sampler of convolutions takes any input for contiguous. A hooked layer has no rule here and goes to it."""
    net = nn.Conv2d(8, 1, 1).double()
    net.register_forward_pre_hook(lambda module, inputs: None)
    refuse(net, lambda rows, labels: net(rows.transpose(1, 2)).square().mean((1, 2, 3)), "weight do not add up")
    net._forward_pre_hooks.clear()
    engine, (rows, _) = Engine(net, 2), make_rows(3, 2, torch.float64)
    with engine.attached():
        engine.differentiate(lambda: net(rows.transpose(1, 2)).square().mean((1, 2, 3)), 3)
        per_image = engine.gradients()[0]
    (whole,) = torch.autograd.grad(net(rows.transpose(1, 2)).square().mean((1, 2, 3)).sum() / 2, [net.weight])
    torch.testing.assert_close(per_image.sum(0), whole)


def test_a_gradient_penalty_is_refused() -> None:
    net = make(Everything, torch.float64)

    def loss(rows: Tensor, labels: Tensor) -> Tensor:
        rows = rows.requires_grad_()
        (slope,) = torch.autograd.grad(losses(net, rows, labels).sum(), rows, create_graph=True)
        return slope.square().sum((1, 2, 3))

    refuse(net, loss, "gradient penalty")


def test_a_gradient_penalty_through_a_layer_of_opacus_is_refused() -> None:
    net = nn.ConvTranspose2d(2, 1, 2).double()

    def loss(rows: Tensor, labels: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(net(rows.requires_grad_()).square().sum(), rows, create_graph=True)
        return slope.square().sum((1, 2, 3))

    refuse(net, loss, "gradient penalty")


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_layer_that_sees_other_rows_than_one_per_copy_is_refused(kind: Any) -> None:
    net = kind(2, 1, 2).double()

    def loss(rows: Tensor, labels: Tensor) -> Tensor:
        return net(rows[::2]).repeat_interleave(2, 0).square().mean((1, 2, 3))

    refuse(net, loss, "reaches weight, bias: the layer sees other rows")


def test_a_loss_of_the_wrong_shape_is_refused() -> None:
    net = make(Everything, torch.float64)
    rows, labels = make_rows(3, 2, torch.float64)
    engine = Engine(net, 2)
    with engine.attached(), pytest.raises(RunError, match="one loss per image and copy"):
        engine.differentiate(lambda: losses(net, rows, labels).mean(), 3)


class Adjusted(nn.Linear):
    """Computes something else than its name says."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Scaled(nn.Module):
    """Owns a bare parameter beside a layer: Opacus samples both as one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((8,), 2.0))
        self.inner = nn.Linear(8, LABELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * self.scale)


class Around(nn.Module):
    layer: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.layer = Scaled()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layer(x).mean((1, 2))


class AroundAdjusted(Around):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Adjusted(8, LABELS)


@pytest.mark.parametrize(
    ("kind", "named"), [(AroundAdjusted, "layer (Adjusted)"), (Around, "layer (Scaled)")], ids=["own", "bare"]
)
def test_layers_without_a_rule_are_sampled_by_opacus_and_named(kind: type[nn.Module], named: str) -> None:
    net = make(kind, torch.float64)
    engine = Engine(net, 2)
    with engine.attached():
        assert engine.fallbacks == [named]
    assert_clipped_sums_agree(net, 5, 2, torch.float64)


def test_a_table_of_choices_is_used_and_a_missing_shape_gets_the_default() -> None:
    net = make(Everything, torch.float64)
    rows, labels = make_rows(3, 1, torch.float64)
    engine = Engine(net, 1, Kernels({"some other shape": "nonsense"}))
    with engine.attached():
        engine.differentiate(lambda: losses(net, rows, labels), 3)
        key = next(key for key, site in engine.kernels.met.items() if site.inputs == (2, 8, 8))
        engine.kernels.chosen[key] = "nonsense"
        with pytest.raises(AttributeError, match="nonsense"):
            engine.differentiate(lambda: losses(net, rows, labels), 3)
