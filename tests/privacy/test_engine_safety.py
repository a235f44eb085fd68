"""Clipping under bad numbers, coarse arithmetic and little memory; what is kept from one process to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dpib.data.images import LabelledImages
from dpib.errors import RunError, UnsupportedMechanism
from dpib.privacy.dpsgd import prepare
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.engine import batches as batches_module
from dpib.privacy.engine import tuning
from dpib.privacy.engine.batches import PhysicalBatches, Saved, affordable
from dpib.privacy.engine.clipping import clipping_factors, exact_float32, squared_norms
from dpib.privacy.engine.gradients import Kept, Tape
from dpib.privacy.engine.hooks import Engine
from dpib.privacy.engine.kernels import Convolution, Projection, per_image
from dpib.privacy.engine.tuning import Kernels
from dpib.testing.replay import RecordingNoise

from .conftest import SECRET, TASK, Bench, open_bench
from .test_engine import Everything, assert_clipped_sums_agree, losses, make, make_rows


class Small(nn.Module):
    """Two layers with rules and one of Opacus'."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 1)
        self.out = nn.Linear(128, TASK.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.up(torch.tanh(self.enter(x))).flatten(1))


def small(seed: int = 0) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small().double()


def loss_of(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: F.cross_entropy(net(x.double() / 255), y, reduction="none")


# ---- norms and factors ----


@given(st.integers(1, 3), st.integers(0, 2000), st.floats(-12, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_norms_of_float32_rows_are_exact_to_a_millionth(n: int, width: int, exponent: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, width, generator=generator) * 10**exponent
    exact = rows.double().square().sum(1)
    torch.testing.assert_close(squared_norms(rows), exact, rtol=2e-6, atol=0)
    torch.testing.assert_close(squared_norms(rows.double()), exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [1e38, float("inf"), float("nan")])
def test_rows_beyond_all_bounds_contribute_nothing(value: float) -> None:
    rows = torch.ones(3, 10_000)
    rows[1] = value
    part = Kept(rows)
    factors = clipping_factors(part.squares(1e-6), 1e-6)
    assert factors[1] == 0
    assert float(part.without(factors == 0).weighted_sum(factors).double().norm()) == pytest.approx(2e-6)


def test_squares_that_float32_cannot_hold_are_not_lost_below_a_tiny_bound() -> None:
    rows = torch.full((1, 4), 1e-25)
    assert float(squared_norms(rows)) == 0.0
    assert float(squared_norms(rows, smallest=1e-25).sqrt()) == pytest.approx(2e-25)
    tape = Tape(1)
    parameter = nn.Parameter(torch.zeros(4))
    tape.add(parameter, Kept(rows))
    torch.testing.assert_close(tape.clipped_sums(1e-25)[parameter], 0.5 * rows[0])


@pytest.mark.parametrize("spoilt", [None, float("nan"), float("inf")], ids=str)
def test_small_parameters_are_joined_for_the_norm_and_parted_for_the_sum(spoilt: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (2, 2049), (1,), (64, 64), (5, 0), (7, 2)]
    tape, rows = Tape(1), [torch.randn(4, *shape, generator=generator) for shape in shapes]
    if spoilt is not None:
        rows[2][1] = spoilt
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter, part in zip(parameters, rows, strict=True):
        tape.add(parameter, Kept(part))
    norms = torch.cat([part.flatten(1) for part in rows], 1).double().norm(dim=1)
    factors = torch.where(norms.isfinite(), (20 / norms).clamp(max=1), 0)
    found = tape.clipped_sums(20.0)
    for parameter, part in zip(parameters, rows, strict=True):
        expected = torch.stack([f * row for f, row in zip(factors, part, strict=True) if f > 0]).sum(0)
        torch.testing.assert_close(found[parameter], expected.float())
    assert not tape.touched


@contextmanager
def coarse_products() -> Iterator[None]:
    """Let float32 matrix products run in bfloat16 where the processor can, as users do for speed."""
    backend = torch.backends.mkldnn.matmul
    before, backend.fp32_precision = backend.fp32_precision, "bf16"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        backend.fp32_precision = before  # type: ignore[attr-defined]


def test_coarse_products_are_off_while_clipping_and_back_afterwards() -> None:
    backend: Any = torch.backends.mkldnn.matmul
    with coarse_products():
        with exact_float32():
            assert backend.fp32_precision == "ieee"
        assert backend.fp32_precision == "bf16"
        with pytest.raises(KeyError), exact_float32():
            raise KeyError
        assert backend.fp32_precision == "bf16"


def to_tf32(values: Tensor) -> Tensor:
    """Round float32 to TF32's 10 bits, to nearest."""
    return ((values.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def test_what_tf32_would_do_to_the_bound() -> None:
    """A factor and a gradient of 10 bits each miss the bound by up to 1e-3; Gram norms of cancelling terms by far more.

    An inexact gradient that is clipped to its own norm does not miss it at all.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 4000, generator=generator)
    factors = clipping_factors(Kept(rows).squares(1.0), 1.0).float()
    coarse = (to_tf32(factors)[:, None].double() * to_tf32(rows).double()).norm(dim=1)
    assert 1 + 1e-4 < float(coarse.max()) < 1 + 1e-3
    inexact = to_tf32(rows)
    factors = clipping_factors(Kept(inexact).squares(1.0), 1.0).float()
    assert float((factors[:, None].double() * inexact.double()).norm(dim=1).max()) < 1 + 1e-6

    shape = Projection((30, 20))
    x = torch.ones(1, 64, 20) + 1e-3 * torch.randn(1, 64, 20, generator=generator)
    g = torch.randn(1, 64, 30, generator=generator)
    g -= g.mean(1, keepdim=True)
    exact = float((g.double().transpose(1, 2) @ x.double()).square().sum())
    xt, gt = to_tf32(x), to_tf32(g)
    gram = float(((xt @ xt.transpose(1, 2)) * (gt @ gt.transpose(1, 2))).sum())
    assert abs(gram / exact - 1) > 0.05
    assert float(shape.gram(x, g, 1).squares(1.0)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", ["batched", "gram"])
def test_no_record_exceeds_the_bound_under_autocast(name: str) -> None:
    """In bfloat16 the gradient is rough, its clipped norm is not."""
    net = make(Everything, torch.float32)
    net.up.requires_grad_(False)
    rows, labels = make_rows(1, 4, torch.float32)
    engine = Engine(net, 4)

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return losses(net, rows, labels).float()

    with engine.attached():
        engine.differentiate(loss, 1)
        engine.kernels.chosen = {k: name for k, site in engine.kernels.met.items() if hasattr(site.shape, "batched")}
        norm = float(torch.cat([g.double().flatten() for g in engine.gradients()]).norm())
        engine.differentiate(loss, 1)
        sums = engine.clipped_sums(norm / 10)
    assert all(part.dtype == torch.float32 for part in sums)
    assert float(torch.cat([part.double().flatten() for part in sums]).norm()) == pytest.approx(norm / 10, rel=1e-5)


def test_a_layer_of_opacus_under_autocast_is_refused() -> None:
    net, (rows, labels) = make(Everything, torch.float32), make_rows(1, 4, torch.float32)
    engine = Engine(net, 4)
    with (
        engine.attached(),
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UnsupportedMechanism, match=r"up\.weight, up\.bias: a ConvTranspose2d has no rule for autocast"),
    ):
        engine.differentiate(lambda: losses(net, rows, labels), 1)


# ---- kernels, tuning ----

SHAPES = st.tuples(
    st.sampled_from([1, 2]), st.sampled_from([1, 2, 3]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2),
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


@given(SHAPES, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_gram_norms_are_those_of_the_gradients(sizes: tuple[int, ...], seed: int) -> None:
    n, copies, kh, kw, padding, stride, dilation, channels = sizes
    shape = Convolution((2, channels, kh, kw), (stride, 1), (padding, 1), (dilation, 1), 1)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n * copies, channels, 8, 7, generator=generator, dtype=torch.float64)
    weight = torch.zeros(shape.weight, dtype=torch.float64)
    g = torch.randn(F.conv2d(x, weight, None, (stride, 1), (padding, 1), (dilation, 1)).shape, generator=generator)
    gram = per_image(shape, "gram", x, g.double(), copies)
    kept = Kept(shape.looped(x, g.double(), copies))
    factors = torch.linspace(0, 1, n, dtype=torch.float64)
    torch.testing.assert_close(gram.squares(1.0), kept.squares(1.0))
    torch.testing.assert_close(gram.weighted_sum(factors), kept.weighted_sum(factors))
    torch.testing.assert_close(gram.materialise(), kept.materialise())


@pytest.mark.parametrize("kernel", ["unfolded", "gram"])
def test_a_record_without_a_finite_gradient_spoils_no_other(kernel: str) -> None:
    shape = Convolution((3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    x, g = torch.randn(2, 2, 4, 4), torch.randn(2, 3, 4, 4)
    x[0], g[0] = float("inf"), float("nan")
    part = per_image(shape, kernel, x, g, 1)
    factors = clipping_factors(part.squares(1.0), 1e-3)
    assert factors[0] == 0 and factors[1] > 0
    assert float(part.without(factors == 0).weighted_sum(factors).norm()) == pytest.approx(1e-3, rel=1e-5)


class Wide(nn.Module):
    """Layers that are worth timing: one for which Gram matrices are in the race, one with several copies to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.out = nn.Conv2d(2, 640, 8), nn.Linear(640, 5)
        self.wide = nn.Conv2d(2, 640, 5, padding=2)

    layout = torch.contiguous_format

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = x.contiguous(memory_format=self.layout)
        return self.out((self.deep(x) + self.wide(x).mean((2, 3), keepdim=True)).flatten(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_tuned_kernels_are_timed_once_and_agree_with_autograd(
    monkeypatch: pytest.MonkeyPatch, layout: torch.memory_format
) -> None:
    monkeypatch.setattr(tuning, "WORTH_TIMING", 1)
    monkeypatch.setattr(tuning, "_TIMED", {})
    races: list[list[str]] = []
    race = tuning._race

    def noted(site: tuning.Site, names: list[str], n: int) -> str:
        races.append(names)
        return race(site, names, n)

    monkeypatch.setattr(tuning, "_race", noted)
    monkeypatch.setattr(Wide, "layout", layout)
    net = make(Wide, torch.float64).to(memory_format=layout)
    assert_clipped_sums_agree(net, 5, 3, torch.float64, lambda engine: engine.kernels.tune(5))
    assert sorted(map(len, races)) == [2, 5, 6]  # the linear layer, the wide one, and the deep one with "gram"


def test_shapes_too_small_to_matter_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_race", None)
    net = make(Everything, torch.float64)
    assert_clipped_sums_agree(net, 3, 2, torch.float64, lambda engine: engine.kernels.tune(3))


def test_a_kernel_that_is_far_slower_is_called_no_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    seconds = {"looped": 1.0, "grouped": 5.0, "unfolded": 0.9}

    def called(shape: Any, name: str, *rest: Any) -> Any:
        calls.append(name)
        return Kept(torch.zeros(2, 1))

    def timed(work: Callable[[], object], device: str) -> float:
        work()
        return seconds[calls[-1]]

    monkeypatch.setattr(tuning, "per_image", called)
    monkeypatch.setattr(tuning, "_seconds", timed)
    shape = Convolution((4, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    site = tuning.Site(shape, (4, 8, 8), (4, 8, 8), 1, torch.float32, "cpu", False)
    assert tuning._race(site, list(seconds), 2) == "unfolded"
    assert calls == ["looped", "grouped", "unfolded", "looped", "unfolded"]


def test_patches_that_would_fill_the_memory_are_not_unfolded() -> None:
    shape = Convolution((8, 512, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert shape.kernels((512, 16, 16), (8, 16, 16), 32) == ["looped", "grouped", "by_row"]


# ---- what a run prepares and keeps ----


def run(bench: Bench, net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor] | None = None, **options: Any) -> None:
    plan = DpSgdPlan(steps=2, sample_rate=0.5, clipping_norm=0.3, noise_multiplier=1.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    bench.private.train(net, loss or loss_of(net), plan, label="train", optimizer=optimizer, **options)


def test_a_resumed_run_uses_the_kernels_and_the_batch_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels agree up to rounding only; replayed, a step must give the same bits."""
    used: list[tuple[dict[str, str], int]] = []

    def noted(self: PhysicalBatches, *rest: Any) -> Any:
        used.append((Kernels.latest.chosen, self.size))  # type: ignore[attr-defined]
        raise KeyError("killed")

    init = Kernels.__init__

    def remembered(self: Kernels, chosen: dict[str, str] | None = None) -> None:
        init(self, chosen)
        Kernels.latest = self  # type: ignore[attr-defined]

    monkeypatch.setattr(Kernels, "__init__", remembered)
    monkeypatch.setattr(PhysicalBatches, "total", noted)
    monkeypatch.setattr(tuning, "_fastest", lambda site, n: "looped" if hasattr(site.shape, "looped") else "gram")
    with pytest.raises(KeyError, match="killed"):
        run(open_bench(tmp_path), small(), physical_batch_size=9)
    monkeypatch.setattr(tuning, "_fastest", None)
    with pytest.raises(KeyError, match="killed"):
        run(open_bench(tmp_path), small(), physical_batch_size=11)
    assert used[0] == used[1] and used[0][1] == 9 and set(used[0][0].values()) == {"looped", "gram"}


def test_layers_that_opacus_samples_are_named_to_the_user(bench: Bench) -> None:
    run(bench, small())
    notes = [event.message for event in bench.events if event.kind == "note"]
    assert notes == ["Slower per-image gradients, by Opacus itself: up (ConvTranspose2d)."]


@pytest.mark.parametrize(
    ("options", "reason"), [({"max_norm": 1.0}, "max_norm"), ({"scale_grad_by_freq": True}, "how often a batch uses")]
)
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_tables_that_look_at_the_whole_batch_are_refused(
    bench: Bench, kind: Any, options: dict[str, Any], reason: str
) -> None:
    net, before = nn.ModuleDict({"table": kind(3, 4, **options)}), bench.text
    with pytest.raises(UnsupportedMechanism, match=rf"table .*{reason}"):
        run(bench, net, lambda x, y: net["table"](y[:, None]).flatten(1).sum(1))
    assert bench.text == before


# ---- memory ----


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
@pytest.mark.parametrize("fails_in", ["forward", "backward"])
def test_passes_are_halved_when_memory_runs_out_and_nothing_else_changes(
    tmp_path: Path, images: LabelledImages, error: BaseException, fails_in: str
) -> None:
    releases, ledgers = [], []
    for at_most in (64, 6):
        folder = tmp_path / str(at_most)
        folder.mkdir()
        noise, net = RecordingNoise(SECRET), small()
        bench = open_bench(folder, images, noise=noise)

        def loss(x: Tensor, y: Tensor, net: nn.Module = net, at_most: int = at_most) -> Tensor:
            rows = loss_of(net)(x, y)
            if len(x) <= at_most:
                return rows
            if fails_in == "forward":
                raise error

            def fail(slope: Tensor) -> None:
                raise error

            rows.register_hook(fail)
            return rows

        run(bench, net, loss, physical_batch_size=50)
        releases.append(noise.releases)
        ledgers.append(bench.text)
        notes = [event.message for event in bench.events if "Out of memory" in event.message]
        sizes = [] if at_most == 64 else [25, 13, 7, 4]  # of 50, whatever the sample
        assert notes == [f"Out of memory: continuing with at most {size} images per pass." for size in sizes]
    assert ledgers[0] == ledgers[1]
    for ours, theirs in zip(*releases, strict=True):
        for a, b in zip(ours.exact, theirs.exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_single_image_that_does_not_fit_stops_the_run(bench: Bench) -> None:
    net = small()

    def loss(x: Tensor, y: Tensor) -> Tensor:
        if len(x) == 2:  # the made-up pair
            return loss_of(net)(x, y)
        raise MemoryError

    with pytest.raises(RunError, match="not enough memory for the gradient of a single image"):
        run(bench, net, loss, physical_batch_size=1)


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    def work(batch: Tensor) -> list[Tensor]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        PhysicalBatches(4, print).total(torch.arange(9), [], work)


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_every_record_counts_once_however_often_memory_runs_out(n: int, size: int, fits: int) -> None:
    batches = PhysicalBatches(size, lambda message: None)

    def work(batch: Tensor) -> list[Tensor]:
        if len(batch) > fits:
            raise MemoryError
        return [torch.bincount(batch, minlength=30).double()]

    (counts,) = batches.total(torch.arange(n), [torch.zeros(30, dtype=torch.float64)], work)
    assert counts.tolist() == [1.0] * n + [0.0] * (30 - n)
    again = PhysicalBatches(1, print)
    again.load_state_dict(batches.state_dict())
    assert again.size == batches.size <= size


def test_passes_are_as_large_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_AVPHYS_PAGES": 200, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(batches_module.os, "sysconf", pages.__getitem__)
    assert affordable(10_000, "cpu") == 10
    assert affordable(10, "cpu") == 64
    assert affordable(10**9, "cpu") == 1
    assert affordable(0, "cpu") == 64
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000, 0))
    assert affordable(10_000, "cuda") == 600
    net = small()
    prepared = prepare(net, loss_of(net), 1, TASK, "cpu", None)
    assert 1 < prepared["physical_batch_size"] < 64
    assert prepare(net, loss_of(net), 1, TASK, "cpu", 7)["physical_batch_size"] == 7


def test_saved_tensors_are_counted_once_and_parameters_not() -> None:
    layer, x = nn.Linear(10, 10), torch.randn(4, 10)
    with Saved(layer.parameters()) as saved:
        out = layer(x).square() + layer(x).square()
    assert saved.bytes == 3 * 4 * 10 * 4  # x and twice the layer's output
    out.sum().backward()


def test_smaller_passes_do_not_tell_how_many_records_were_left() -> None:
    def work(batch: Tensor) -> list[Tensor]:
        if len(batch) > 2:
            raise MemoryError
        return []

    told: dict[int, list[str]] = {5: [], 6: [], 7: []}
    for count, notes in told.items():
        PhysicalBatches(64, notes.append).total(torch.arange(count), [], work)
    assert told[5] == told[6] == told[7] and len(told[5]) == 5
