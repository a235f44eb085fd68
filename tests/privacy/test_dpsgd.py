"""DP-SGD against a loop over single records, and everything that must not make a difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from dpib import context as context_module
from dpib.data.images import LabelledImages
from dpib.errors import PrivacyError, RunError, UnsupportedMechanism
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.ledger import parse_charges, read_ledger_lines
from dpib.testing.replay import RecordingNoise

from .conftest import SECRET, TASK, Bench, make_images, open_bench

CLIP = 0.7


class Net(nn.Module):
    """Every kind of layer that the built-in methods use."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.classes = nn.Embedding(TASK.n_classes, 4)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.out = nn.Linear(50, TASK.n_classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        hidden = self.norm(self.convolution(images)) + self.classes(labels)[:, :, None, None]
        return self.out(torch.tanh(self.up(hidden)).flatten(1))


def make_net(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net().double()


def copies_of(images: Tensor, k: int) -> Tensor:
    """K noisy copies of every image, image-major; the noise of copy k is the same for every image."""
    noise = torch.randn((k, *TASK.shape), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return (images.double() / 255)[:, None].add(noise).flatten(0, 1)


def loss_of(model: nn.Module, k: int = 1) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(images: Tensor, labels: Tensor) -> Tensor:
        targets = labels.repeat_interleave(k)
        return F.cross_entropy(model(copies_of(images, k), targets), targets, reduction="none")

    return loss


def train(
    bench: Bench,
    model: nn.Module,
    k: int = 1,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    physical_batch_size: int = 64,
    after_step: Callable[[int], None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **changes: Any,
) -> None:
    plan = {"steps": 1, "sample_rate": 0.5, "clipping_norm": CLIP, "noise_multiplier": 1.0, **changes}
    bench.private.train(
        model,
        loss or loss_of(model, k),
        DpSgdPlan(noise_multiplicity=k, **plan),
        label="train",
        optimizer=optimizer or torch.optim.SGD(model.parameters(), lr=0.5),
        physical_batch_size=physical_batch_size,
        after_step=after_step,
    )


def by_hand(model: nn.Module, data: LabelledImages, records: Tensor, k: int, clip: float = CLIP) -> list[Tensor]:
    """Mean over copies, then norm over all parameters, then clip, then sum: record by record with plain autograd."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for record in records:
        rows = loss_of(model, k)(data.images[record][None], data.labels[record][None])
        gradient = torch.autograd.grad(rows.mean(), parameters)
        norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
        factor = min(1.0, clip / float(norm))
        total = [t + factor * g for t, g in zip(total, gradient, strict=True)]
    return total


def assert_same(ours: Any, theirs: Any, tolerance: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("clip", [0.05, CLIP, 1e3])
def test_clipped_sum_equals_a_loop_over_records(tmp_path: Path, k: int, clip: float, images: LabelledImages) -> None:
    noise, model = RecordingNoise(SECRET), make_net()
    expected = None
    records = noise.poisson_sample(len(images), 0.5, "train-0001", 0)
    expected = by_hand(model, images, records, k, clip)
    train(open_bench(tmp_path, noise=noise), model, k, clipping_norm=clip)
    assert 20 < len(records) < 44 and torch.equal(noise.samples[1][2], records)
    assert_same(noise.releases[0].exact, expected)


def test_copies_are_averaged_before_clipping_and_not_after(tmp_path: Path, images: LabelledImages) -> None:
    """Clipping each copy and averaging is another number; on these data the two lie far apart."""
    noise, model = RecordingNoise(SECRET), make_net()
    records = noise.poisson_sample(len(images), 0.5, "train-0001", 0)
    mean_first = by_hand(model, images, records, 4, 0.05)
    parts = []
    for record in records:
        copies = loss_of(model, 4)(images.images[record][None], images.labels[record][None])
        for row in copies:
            gradient = torch.autograd.grad(row, list(model.parameters()), retain_graph=True)
            norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
            parts.append([g * min(1.0, 0.05 / float(norm)) / 4 for g in gradient])
    clip_first = [torch.stack(column).sum(0) for column in zip(*parts, strict=True)]
    train(open_bench(tmp_path, noise=noise), model, 4, clipping_norm=0.05)
    assert_same(noise.releases[0].exact, mean_first)
    assert max(float((a - b).abs().max()) for a, b in zip(mean_first, clip_first, strict=True)) > 1e-3


@pytest.mark.parametrize("k", [1, 3])
def test_physical_batches_change_neither_the_sum_nor_the_number_of_noise_draws(tmp_path: Path, k: int) -> None:
    runs = []
    for size in (1, 2, 5, 64, 1000):
        noise, model = RecordingNoise(SECRET), make_net()
        (tmp_path / str(size)).mkdir()
        train(open_bench(tmp_path / str(size), noise=noise), model, k, physical_batch_size=size, steps=2)
        assert [(r.charge, r.step) for r in noise.releases] == [("train-0001", 0), ("train-0001", 1)]
        runs.append((noise, list(model.parameters())))
    for noise, parameters in runs[1:]:
        for ours, theirs in zip(noise.releases, runs[0][0].releases, strict=True):
            assert_same(ours.exact, theirs.exact)
        assert_same(parameters, runs[0][1])


@pytest.mark.parametrize("n", [6, 7, 8])
def test_the_last_physical_batch_counts_like_any_other(tmp_path: Path, n: int) -> None:
    """N mod B in {0, 1, B-1} for B = 3."""
    data, noise, model = make_images(n), RecordingNoise(SECRET), make_net()
    expected = by_hand(model, data, torch.arange(n), 2)
    train(open_bench(tmp_path, data, noise=noise), model, 2, physical_batch_size=3, sample_rate=1.0)
    assert_same(noise.releases[0].exact, expected)


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_batch_releases_pure_noise_and_is_a_step(tmp_path: Path, n: int) -> None:
    noise, model = RecordingNoise(SECRET), make_net()
    before = [p.detach().clone() for p in model.parameters()]
    bench = open_bench(tmp_path, make_images(n), noise=noise)
    seen: list[int] = []
    train(bench, model, steps=3, sample_rate=1e-6, after_step=seen.append)
    assert seen == [0, 1, 2] and [len(sample) for _, _, sample in noise.samples] == [0, 0, 0]
    assert all(float(part.abs().max()) == 0 for release in noise.releases for part in release.exact)
    assert all(float(part.abs().min()) > 0 for release in noise.releases for part in release.answer)
    moved = [float((a - b.detach()).abs().min()) for a, b in zip(before, model.parameters(), strict=True)]
    assert min(moved) > 0
    assert parse_charges(read_ledger_lines(bench.path))[1] == {"train-0001": 3}


@pytest.mark.parametrize("n", [10, 64])
def test_updates_are_divided_by_the_public_expected_batch_size(tmp_path: Path, n: int) -> None:
    noise, model = RecordingNoise(SECRET), make_net()
    before = [p.detach().clone() for p in model.parameters()]
    train(open_bench(tmp_path, make_images(n), noise=noise), model, sample_rate=0.25)
    (release,) = noise.releases
    expected_batch = 0.25 * TASK.nominal_size
    assert_same(model.parameters(), [b - 0.5 * a / expected_batch for b, a in zip(before, release.answer, strict=True)])


def test_every_step_draws_its_own_poisson_sample(tmp_path: Path) -> None:
    """Amplification by sampling assumes independent draws; a batch that is drawn once and used again has none."""
    noise = RecordingNoise(SECRET)
    train(open_bench(tmp_path, noise=noise), make_net(), steps=20, sample_rate=0.5, physical_batch_size=64)
    drawn = torch.zeros(20, 64)
    for step, (charge, number, sample) in enumerate(noise.samples):
        assert (charge, number) == ("train-0001", step)
        drawn[step, sample] = 1
    agreement = (drawn[:-1] == drawn[1:]).float().mean(1)  # half of the coins, give or take
    assert float(agreement.min()) > 0.2 and float(agreement.max()) < 0.8
    assert 0.4 < float(drawn.mean()) < 0.6


def test_noise_is_charged_relative_to_the_clipping_norm(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    train(open_bench(tmp_path, noise=noise), make_net(), noise_multiplier=3.0)
    assert noise.releases[0].scale == pytest.approx(3.0 * CLIP)


@pytest.mark.parametrize(
    ("factor", "contributes"), [(float("nan"), 0.0), (float("inf"), 0.0), (1e36, 0.0), (1e6, CLIP), (0.0, 0.0)]
)
def test_a_record_with_any_gradient_contributes_at_most_the_clipping_norm(
    tmp_path: Path, factor: float, contributes: float
) -> None:
    data = make_images(4)
    odd = data.images[2, 0, 0, 0] = 77
    data.images[[0, 1, 3], 0, 0, 0] = 0
    sums = []
    for rows in (torch.arange(4), torch.tensor([0, 1, 3])):
        noise, model = RecordingNoise(SECRET), make_net()

        def loss(images: Tensor, labels: Tensor, model: nn.Module = model) -> Tensor:
            values = F.cross_entropy(model(copies_of(images, 1), labels), labels, reduction="none")
            marked = images[:, 0, 0, 0] == odd
            return values * torch.where(marked, factor, 1.0)

        folder = tmp_path / str(len(rows))
        folder.mkdir()
        train(open_bench(folder, data[rows], noise=noise), model, loss=loss, sample_rate=1.0)
        sums.append(noise.releases[0].exact)
    gap = torch.cat([(a - b).flatten() for a, b in zip(*sums, strict=True)])
    assert bool(torch.isfinite(gap).all())
    assert float(gap.norm()) == pytest.approx(contributes, rel=1e-6, abs=1e-9)


# ---- refused before any charge ----


class Bypass(Net):
    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        hidden = self.norm(self.convolution(images)) + self.classes(labels)[:, :, None, None]
        return F.linear(torch.tanh(self.up(hidden)).flatten(1), self.out.weight)


class Unused(Net):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class BatchNormed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)  # type: ignore[assignment]


class Normed(Net):
    """With a normalisation that has no weights of its own, so that Opacus does not look at it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.norm = layer  # type: ignore[assignment]


class Centred(Net):
    """Mixes records without any forbidden layer."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images - images.mean(0, keepdim=True), labels)


class Counting(Net):
    """Keeps a running mean of the data in a buffer, which would leave unnoised with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Module()
        self.memory.register_buffer("mean", torch.zeros(1))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        mean = self.memory.get_buffer("mean")
        mean.mul_(0.9).add_(0.1 * images.detach().mean())
        return super().forward(images, labels)


class PassCounting(Net):
    """A frozen part counts passes, whose number follows from the size of the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Module()
        self.memory.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.memory.get_buffer("passes").add_(1)
        return super().forward(images, labels)


class FrozenCounting(Net):
    """Keeps a running mean in a frozen parameter, and mixes records by it."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Module()
        self.memory.mean = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        mean = self.memory.get_parameter("mean")
        with torch.no_grad():
            mean.lerp_(images.mean(), 0.5)
        return super().forward(images - mean, labels)


class Growing(Net):
    """Puts a buffer in its place that was not there before the first pass."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.norm.register_buffer("seen", images.detach().mean())
        return super().forward(images, labels)


class Infinite(Centred):
    """Mixes records, behind a root of zero: its derivative is infinite, times zero."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images, labels).square().sqrt()


class BufferInLayer(nn.Linear):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.register_buffer("seen", torch.zeros(1))


class BufferedLayer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.out = BufferInLayer(50, TASK.n_classes)


def _frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (BatchNormed().double(), "BatchNorm cannot support training with differential privacy"),
        (Normed(nn.BatchNorm2d(4, affine=False)).double(), "norm keeps statistics"),
        (Normed(nn.BatchNorm2d(4).requires_grad_(False)).double(), "norm keeps statistics"),
        (Normed(nn.InstanceNorm2d(4, track_running_stats=True)).double(), "norm keeps statistics"),
        (Unused().double(), r"spare\.weight, spare\.bias"),
        (Bypass().double(), r"out\.weight, out\.bias"),
        (Centred().double(), "depends on the others"),
        (Counting().double(), r"changes memory\.mean of the model"),
        (PassCounting().double(), r"changes memory\.passes of the model"),
        (FrozenCounting().double(), r"changes memory\.mean of the model"),
        (Growing().double(), r"DP-SGD cannot train|changes norm\.seen of the model"),
        (Infinite().double(), "not finite"),
        (BufferedLayer().double(), "DP-SGD cannot train"),
        (_frozen(make_net()), "nothing to train"),
        (Net().bfloat16(), "bfloat16, too coarse"),
    ],
    ids=[
        "batch norm",
        "bare batch norm",
        "frozen batch norm",
        "remembering instance norm",
        "unused",
        "bypassed",
        "centred",
        "running mean",
        "counter of passes",
        "running mean in a frozen parameter",
        "new buffer",
        "not finite",
        "buffer in a layer",
        "frozen",
        "bfloat16",
    ],
)
def test_a_model_whose_records_cannot_be_clipped_apart_is_refused_before_any_charge(
    bench: Bench, model: nn.Module, message: str
) -> None:
    before, bench.private._data = bench.text, None  # type: ignore[assignment] # whoever reads fails
    with pytest.raises(UnsupportedMechanism, match=message):
        train(bench, model)
    assert bench.text == before


def copy_major(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(images: Tensor, labels: Tensor) -> Tensor:
        repeated = (images.double() / 255).repeat(2, 1, 1, 1)
        return F.cross_entropy(model(repeated, labels.repeat(2)), labels.repeat(2), reduction="none")

    return loss


def contrastive(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(images: Tensor, labels: Tensor) -> Tensor:
        out = model(copies_of(images, 2), labels.repeat_interleave(2))
        return F.cross_entropy(out @ out.T, torch.arange(len(out)), reduction="none")

    return loss


def once_per_image(model: Net) -> Callable[[Tensor, Tensor], Tensor]:
    """Some layers see one row an image, others one a copy: gradients of different records would be added up."""

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        hidden = model.norm(model.convolution(images.double())) + model.classes(labels)[:, :, None, None]
        out = model.out(torch.tanh(model.up(hidden)).flatten(1).repeat_interleave(2, 0))
        return F.cross_entropy(out, labels.repeat_interleave(2), reduction="none")

    return loss


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (copy_major, "depends on the others"),
        (contrastive, "depends on the others"),
        (once_per_image, r"convolution\.weight"),
        (lambda model: lambda images, labels: torch.zeros(2 * len(labels)), "No gradient per record and copy"),
    ],
    ids=["copy-major", "contrastive", "once per image", "constant"],
)
def test_a_loss_that_ties_records_together_is_refused_before_any_charge(bench: Bench, make: Any, message: str) -> None:
    model, before = make_net(), bench.text
    with pytest.raises(UnsupportedMechanism, match=message):
        train(bench, model, 2, loss=make(model))
    assert bench.text == before


@pytest.mark.parametrize("reduce", [Tensor.mean, Tensor.sum, lambda rows: rows[:, None], lambda rows: rows[::2]])
def test_a_loss_without_one_row_per_copy_is_refused_before_any_charge(bench: Bench, reduce: Any) -> None:
    model, before = make_net(), bench.text
    inner = loss_of(model)
    with pytest.raises(RunError, match="one loss per image and copy"):
        train(bench, model, loss=lambda images, labels: reduce(inner(images, labels)))
    assert bench.text == before


def test_a_loss_that_goes_wrong_on_private_data_does_not_tell_how_many_there_are(bench: Bench) -> None:
    model = make_net()
    inner = loss_of(model)
    with pytest.raises(RunError) as error:
        train(bench, model, loss=lambda x, y: inner(x, y) if len(y) == 2 else inner(x, y)[:-1], sample_rate=1.0)
    assert "64" not in str(error.value) and "63" not in str(error.value)


def test_a_refused_model_is_left_as_it_was(bench: Bench) -> None:
    model = FrozenCounting().double()
    with pytest.raises(UnsupportedMechanism):
        train(bench, model)
    assert float(model.memory.get_parameter("mean")) == 0.0


def test_a_loss_that_is_another_in_a_second_pass_is_refused_before_any_charge(bench: Bench) -> None:
    """A generator of its own is state; so is a list outside the model, behind which mixing would not be told."""
    model, generator, before = make_net(), torch.Generator().manual_seed(3), bench.text
    seen = [torch.zeros(1)]

    def drawing(images: Tensor, labels: Tensor) -> Tensor:
        noisy = images.double() / 255 + torch.randn(images.shape, generator=generator)
        return F.cross_entropy(model(noisy, labels), labels, reduction="none")

    def mixing(images: Tensor, labels: Tensor) -> Tensor:
        seen.append(seen[-1] + images.double().mean() / 255)
        return F.cross_entropy(model(images.double() / 255 - seen[-1], labels), labels, reduction="none")

    for loss in (drawing, mixing):
        with pytest.raises(UnsupportedMechanism, match="another in a second pass"):
            train(bench, model, loss=loss)
    assert bench.text == before


def test_normalisation_within_an_image_is_accepted(bench: Bench) -> None:
    train(bench, Normed(nn.InstanceNorm2d(4, affine=True)).double())
    assert len(bench.ledger.charges) == 1


def test_an_optimizer_of_foreign_parameters_is_refused_before_any_charge(bench: Bench) -> None:
    model, other, before = make_net(), nn.Linear(2, 2), bench.text
    with pytest.raises(UnsupportedMechanism, match="outside the model"):
        train(bench, model, optimizer=torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1))
    assert bench.text == before


@pytest.mark.parametrize("size", [0, -3])
def test_a_physical_batch_without_images_is_refused_before_any_charge(bench: Bench, size: int) -> None:
    before = bench.text
    with pytest.raises(PrivacyError, match="at least 1 image"):
        train(bench, make_net(), physical_batch_size=size)
    assert bench.text == before


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"sample_rate": 0.0},
        {"sample_rate": 1.0001},
        {"sample_rate": float("nan")},
        {"clipping_norm": 0.0},
        {"clipping_norm": float("inf")},
        {"clipping_norm": 1e-170},
        {"clipping_norm": 1e39},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplicity": 0},
        {"steps": True},
    ],
    ids=str,
)
def test_plans_that_are_no_mechanism_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DpSgdPlan(**{"steps": 1, "sample_rate": 0.5, "clipping_norm": 1.0, **change})


def test_checking_a_model_leaves_it_and_the_global_randomness_as_they_were(bench: Bench) -> None:
    model = Counting().double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    with pytest.raises(UnsupportedMechanism):
        train(bench, model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in model.parameters())


# ---- what changes and what is seen ----


def test_frozen_layers_are_neither_clipped_nor_noised_nor_changed(tmp_path: Path, images: LabelledImages) -> None:
    noise, model = RecordingNoise(SECRET), make_net()
    model.convolution.requires_grad_(False)
    model.out.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(open_bench(tmp_path, noise=noise), model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert [part.shape for part in noise.releases[0].exact] == [p.shape for p in trainable]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, p in model.named_parameters() if p.requires_grad}


def test_after_step_sees_the_noised_model_and_no_gradient(tmp_path: Path) -> None:
    answers = RecordingNoise(SECRET)
    (tmp_path / "a").mkdir()
    train(open_bench(tmp_path / "a", noise=answers), make_net(), steps=3)
    noise, model = RecordingNoise(bytes(32), answers=answers.by_key), make_net()
    expected = [p.detach().clone() for p in model.parameters()]
    (tmp_path / "b").mkdir()

    def after_step(step: int) -> None:
        nonlocal expected
        assert len(noise.releases) == step + 1
        answer = answers.releases[step].answer
        expected = [b - 0.5 * a / (0.5 * TASK.nominal_size) for b, a in zip(expected, answer, strict=True)]
        assert_same(model.parameters(), expected)
        assert all(p.grad is None and not hasattr(p, "grad_sample") for p in model.parameters())

    train(open_bench(tmp_path / "b", noise=noise), model, steps=3, after_step=after_step)
    assert len(noise.releases) == 3


def test_modules_beside_the_model_get_no_gradient_of_private_data(bench: Bench) -> None:
    model, helper = make_net(), nn.Linear(3, 1, bias=False).double()

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return helper(model(copies_of(images, 1), labels))[:, 0]

    seen: list[Tensor | None] = []
    train(bench, model, loss=loss, after_step=lambda step: seen.append(helper.weight.grad))
    assert seen == [None] and helper.weight.grad is None


class Average:
    """A moving average of the model, as diffusion methods keep."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.values = model, [p.detach().clone() for p in model.parameters()]

    def update(self) -> None:
        self.values = [0.9 * a + 0.1 * p.detach() for a, p in zip(self.values, self.model.parameters(), strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state["values"]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["checkpoint at every step", "no checkpoint before the end"])
@pytest.mark.parametrize("killed_at", [0, 2, 4])
def test_a_resumed_training_equals_the_straight_one_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, killed_at: int
) -> None:
    monkeypatch.setattr(context_module, "CHECKPOINT_EVERY_SECONDS", every)

    def session(folder: Path, kill: int | None) -> tuple[list[Tensor], RecordingNoise, Bench]:
        noise, model = RecordingNoise(SECRET), make_net()
        bench = open_bench(folder, noise=noise)
        average = Average(model)

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(
                model(images.double() / 255 + torch.randn(images.shape), labels), labels, reduction="none"
            )

        def after_step(step: int) -> None:
            average.update()
            if step == kill:
                raise Killed

        bench.private.train(
            model,
            loss,
            DpSgdPlan(steps=5, sample_rate=0.3, clipping_norm=CLIP, noise_multiplier=2.0),
            label="train",
            optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
            after_step=after_step,
            carry={"average": average},
        )
        return [*model.parameters(), *average.values], noise, bench

    (tmp_path / "straight").mkdir()
    (tmp_path / "broken").mkdir()
    straight, told, _ = session(tmp_path / "straight", None)
    with pytest.raises(Killed):
        session(tmp_path / "broken", killed_at)
    resumed, replayed, bench = session(tmp_path / "broken", None)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))
    first = killed_at if every == 0 else 0  # a checkpoint is written once its step is over
    assert [r.step for r in replayed.releases] == list(range(first, 5))
    for release in replayed.releases:  # the same noise only ever on the same value
        twin = told.by_key[release.charge, release.step]
        assert all(torch.equal(a, b) for a, b in zip(release.exact, twin.exact, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(release.answer, twin.answer, strict=True))
    charges, executed = parse_charges(read_ledger_lines(bench.path))
    assert len(charges) == 1 and executed == {"train-0001": 5}
    again, silent, _ = session(tmp_path / "broken", None)
    assert silent.releases == [] and all(torch.equal(a, b) for a, b in zip(straight, again, strict=True))


def test_public_randomness_after_a_step_is_another_at_every_step_and_follows_the_seed(tmp_path: Path) -> None:
    def draws(name: str, seed: int) -> list[float]:
        (tmp_path / name).mkdir()
        found: list[float] = []
        model = make_net()
        bench = open_bench(tmp_path / name, seed=seed)
        train(bench, model, steps=4, after_step=lambda step: found.append(float(torch.rand(()))))
        return found

    first = draws("a", 1)
    assert len(set(first)) == 4 and first == draws("b", 1) and not set(first) & set(draws("c", 2))


def test_training_calibrates_to_what_is_left(tmp_path: Path) -> None:
    bench, model = open_bench(tmp_path, epsilon=1.0), make_net()
    train(bench, model, steps=2, sample_rate=1.0, noise_multiplier=None)
    assert 0.98 < bench.ledger.spent() <= 1.0
    assert bench.ledger.charges[0].sampling == "full"
