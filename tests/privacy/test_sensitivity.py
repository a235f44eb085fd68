"""One record more moves every value before noise by no more than was charged for, and changes nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpib.data.images import LabelledImages
from dpib.privacy import dpsgd
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.noise import NoiseSource
from dpib.privacy.rows import OuterProducts, Statistic, clip_rows, clipped_sum
from dpib.spec import TaskInfo
from dpib.testing.replay import RecordingNoise, distances, neighbours_differ_by

from .conftest import SECRET, Bench, open_bench

TOY = TaskInfo(dataset="toy", shape=(1, 4, 4), classes=("a", "b", "c"), nominal_size=8)
SLACK = 1 + 1e-6

# A record is (first pixel, filling of the others, label); a statistic gives some first pixels a row that is a trap.
NAN, INFINITE, HUGE, HUGER, TINY = 1, 2, 3, 4, 5
Record = tuple[int, str | int, int]
Pair = tuple[list[Record], Record]
records = st.tuples(
    st.sampled_from([0, NAN, INFINITE, HUGE, HUGER, TINY, 6, 100, 255]),
    st.sampled_from(["black", "white", 11, 12, 13]),
    st.integers(0, 2),
)
neighbours = st.tuples(st.lists(records, max_size=7), records)
"""A dataset, which may be empty, miss classes and hold duplicates, and the record that its neighbour has more."""


def build(rows: list[Record]) -> LabelledImages:
    images = torch.zeros((len(rows), *TOY.shape), dtype=torch.uint8)
    for image, (first, filling, _) in zip(images, rows, strict=True):
        if filling == "white":
            image.fill_(255)
        elif filling != "black":
            generator = torch.Generator().manual_seed(int(filling))
            image.copy_(torch.randint(0, 256, TOY.shape, dtype=torch.uint8, generator=generator))
        image[0, 0, 0] = first
    return LabelledImages(images, torch.tensor([label for *_, label in rows], dtype=torch.int64))


def trapped(images: Tensor, labels: Tensor) -> Tensor:
    """Pixels, except that marked records give rows that are not finite, or as large or small as float32 goes."""
    rows = images.flatten(1).float() + labels[:, None]
    first = images[:, 0, 0, 0]
    rows[first == NAN, 3] = float("nan")
    rows[first == INFINITE, 2] = -float("inf")
    rows[first == HUGE] = 3e38
    rows[first == HUGER] *= 1e36
    rows[first == TINY] *= 1e-44
    return rows


def check(run: Callable[[Bench], object], pair: Pair, first: bool = False) -> list[float]:
    """Return how far the values before noise lie apart on two neighbours that are answered alike.

    ``first``: the record more stands before the others, not behind them.
    """
    rows, extra = pair

    def on(data: LabelledImages, noise: NoiseSource) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run(open_bench(Path(folder), data, noise=noise, task=TOY))

    if first:
        return neighbours_differ_by(on, build(rows), build([extra, *rows]), SECRET, extra=0)
    return neighbours_differ_by(on, build(rows), build([*rows, extra]), SECRET)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(neighbours, st.sampled_from([1e-3, 1.0, 50.0]), st.booleans())
@example(([], (NAN, "white", 0)), 1.0, False)
@example(([], (255, "white", 2)), 50.0, False)
@example(([(255, "white", 1)] * 7, (255, "white", 1)), 1.0, False)
@example(([(HUGE, "black", 0)], (HUGER, "white", 1)), 1e-3, True)
def test_one_record_moves_a_noisy_sum_by_at_most_the_clipping_norm(
    pair: Pair, clipping_norm: float, first: bool
) -> None:
    def run(bench: Bench) -> None:
        sums: dict[str, Any] = {"clipping_norm": clipping_norm, "noise_multiplier": 1.0}
        bench.private.noisy_sum(trapped, label="all", **sums)
        bench.private.noisy_sum(trapped, label="by class", by_class=True, **sums)
        bench.private.noisy_sum(trapped, label="sampled", sample_rate=0.6, by_class=True, **sums)

    moved = check(run, pair, first)
    assert len(moved) == 3 and max(moved) <= clipping_norm * SLACK


@settings(max_examples=200, deadline=None, derandomize=True)
@given(neighbours)
def test_one_record_moves_each_adaptive_release_of_a_plan_by_at_most_the_clipping_norm(pair: Pair) -> None:
    def run(bench: Bench) -> None:
        plan = bench.private.plan_noisy_sums(4, label="x", clipping_norm=2.0, noise_multiplier=0.1, sample_rate=0.7)
        answer = torch.zeros(16)
        for step in range(4):
            answer = plan.release(_away_from(answer.clone()), step)

    moved = check(run, pair)
    assert len(moved) == 4 and max(moved) <= 2.0 * SLACK


@settings(max_examples=200, deadline=None, derandomize=True)
@given(neighbours)
def test_one_record_raises_each_total_of_a_ballot_by_at_most_one_and_lowers_none(pair: Pair) -> None:
    rows, extra = pair
    runs: list[RecordingNoise] = []
    for data in (build(rows), build([*rows, extra])):
        noise = RecordingNoise(SECRET, answers=runs[0].by_key if runs else None)
        with tempfile.TemporaryDirectory() as folder:
            ballot = open_bench(Path(folder), data, noise=noise, task=TOY).private.noisy_argmax(
                3, epsilon=1.0, label="choose"
            )
            ballot.score(lambda images, labels: (labels == 1).float())
            ballot.score(lambda images, labels: trapped(images, labels)[:, 2])  # far outside [0, 1], or not finite
            ballot.score(lambda images, labels: -trapped(images, labels)[:, 3])
            ballot.winner()
        runs.append(noise)
    assert max(distances(runs[0].releases, runs[1].releases)) <= SLACK
    gain = runs[1].releases[0].exact[0] - runs[0].releases[0].exact[0]
    assert bool((gain >= 0).all())


def _away_from(answer: Tensor) -> Statistic:
    return lambda images, labels: trapped(images, labels) - 0.3 * answer


class Spiky(nn.Module):
    """A linear model whose gradient is as large as its input: traps reach the gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm = nn.Linear(16, 3), nn.GroupNorm(1, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.norm(self.linear(rows))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(neighbours, st.sampled_from([1, 2]), st.sampled_from([1e-6, 0.5]), st.booleans())
@example(([(6, "white", 0)], (HUGE, "white", 1)), 1, 1e-6, True)
@example(([], (NAN, "white", 1)), 2, 0.5, False)
def test_one_record_moves_a_clipped_gradient_sum_by_at_most_the_clipping_norm(
    pair: Pair, multiplicity: int, clipping_norm: float, first: bool
) -> None:
    def run(bench: Bench) -> None:
        model = Spiky()

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            rows = trapped(images, labels).repeat_interleave(multiplicity, 0)
            out = model.linear(rows) + model.norm(torch.tanh(rows[:, :3]))
            return out.square().sum(1)

        plan = DpSgdPlan(
            steps=2,
            sample_rate=0.7,
            clipping_norm=clipping_norm,
            noise_multiplier=1.0,
            noise_multiplicity=multiplicity,
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        bench.private.train(model, loss, plan, label="x", optimizer=optimizer, physical_batch_size=3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dpsgd, "check_trainable", lambda *_: None)  # 400 times the same model
        moved = check(run, pair, first)
    assert len(moved) == 2 and max(moved) <= clipping_norm * SLACK


@pytest.mark.parametrize("clipping_norm", [1e-200, 1e-3, 1.0, 1e30, 1e200])
def test_clipped_rows_are_finite_and_within_the_norm_whatever_they_were(clipping_norm: float) -> None:
    big = torch.finfo(torch.float64).max
    rows = torch.tensor(
        [[0.0, 0.0], [3.0, 4.0], [1e160, 1.0], [big, -big], [float("nan"), 1.0], [float("inf"), 0.0], [1e-320, 0.0]],
        dtype=torch.float64,
    )
    clipped = clip_rows(rows, clipping_norm)
    assert bool(torch.isfinite(clipped).all())
    assert float(torch.linalg.vector_norm(clipped, dim=1).max()) <= clipping_norm * SLACK
    assert clipped[3:6].tolist() == [[0.0, 0.0]] * 3


def test_a_row_within_the_norm_is_left_alone_and_a_longer_one_keeps_its_direction() -> None:
    clipped = clip_rows(torch.tensor([[0.3, 0.4], [30.0, 40.0]]), 1.0)
    torch.testing.assert_close(clipped, torch.tensor([[0.3, 0.4], [0.6, 0.8]], dtype=torch.float64))


FACTORS = (1e-300, 1e-170, 1e-30, 0.0, 0.5, 3.0, 1e170, 1e300, float("nan"), float("inf"), -float("inf"))


@given(seed=st.integers(0, 2**31), size=st.integers(1, 9), classes=st.integers(1, 3), extreme=st.booleans())
@settings(max_examples=200, deadline=None)
def test_outer_products_are_clipped_and_summed_as_their_rows_are(
    seed: int, size: int, classes: int, extreme: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    pairs = []
    for p, q in ((3, 4), (1, 2), (5, 1)):
        left = torch.randn(size, p, generator=draw, dtype=torch.float64)
        right = torch.randn(size, q, generator=draw, dtype=torch.float64)
        if extreme:
            left, right = (
                part
                * torch.tensor(FACTORS, dtype=torch.float64)[torch.randint(len(FACTORS), (size, 1), generator=draw)]
                for part in (left, right)
            )
        pairs.append((left, right))
    rows = OuterProducts(tuple(pairs))
    labels = torch.randint(classes, (size,), generator=draw)
    total = clipped_sum(rows, labels, classes, 1.5)
    assert total.shape == (classes, rows.width) and bool(torch.isfinite(total).all())
    for one in range(size):
        single = OuterProducts(tuple((left[one : one + 1], right[one : one + 1]) for left, right in pairs))
        assert float(clipped_sum(single, torch.zeros(1, dtype=torch.int64), 1, 1.5).norm()) <= 1.5 * SLACK
    if not extreme:
        dense = torch.cat([torch.einsum("bp,bq->bpq", *pair).flatten(1) for pair in pairs], dim=1)
        torch.testing.assert_close(total, clipped_sum(dense, labels, classes, 1.5), rtol=1e-12, atol=1e-12)


# ---- the helper must be able to fail ----


def _data(n: int) -> LabelledImages:
    return LabelledImages(torch.full((n, *TOY.shape), 200, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64))


def test_replay_exposes_a_mean_over_the_actual_count() -> None:
    def run(data: LabelledImages, noise: NoiseSource) -> None:
        rows = data.images.flatten(1).double()
        noise.add_gaussian([rows.sum(0)], 1.0, "sum")
        noise.add_gaussian([100 * rows.mean(0)], 1.0, "mean")

    unclipped, mean = neighbours_differ_by(run, _data(3), _data(4), SECRET)
    assert unclipped == pytest.approx(800.0) and mean == pytest.approx(0.0)


def test_replay_exposes_what_goes_by_place_where_the_record_more_stands_first() -> None:
    def run(data: LabelledImages, noise: NoiseSource) -> None:
        rows = data.images.flatten(1).double() / 255
        noise.add_gaussian([(rows * (-1.0) ** torch.arange(len(rows))[:, None]).sum(0)], 1.0, "x")

    base: list[Record] = [(0, "white", 0), (0, "black", 0), (0, "white", 0), (0, "black", 0)]
    one: Record = (0, 12, 0)
    (behind,) = neighbours_differ_by(run, build(base), build([*base, one]), SECRET, extra=4)
    (before,) = neighbours_differ_by(run, build(base), build([one, *base]), SECRET, extra=0)
    assert behind <= 4 < before


@pytest.mark.parametrize("extra", [0, 3, 8])
@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_a_record_that_is_included_changes_no_other_coin(extra: int, rate: float) -> None:
    without = RecordingNoise(SECRET).poisson_sample(8, rate, "x", 2)
    noise = RecordingNoise(SECRET, include=extra)
    sample = noise.poisson_sample(9, rate, "x", 2)
    assert sample.tolist() == sorted([extra, *(int(i) + (int(i) >= extra) for i in without)])
    assert torch.equal(noise.samples[0][2], sample)


def test_replay_exposes_a_course_that_depends_on_the_data() -> None:
    def more_steps(data: LabelledImages, noise: NoiseSource) -> None:
        for step in range(len(data)):
            noise.add_gaussian([torch.zeros(1)], 1.0, "x", step)

    def other_shape(data: LabelledImages, noise: NoiseSource) -> None:
        noise.add_gaussian([torch.zeros(len(data))], 1.0, "x")

    def other_scale(data: LabelledImages, noise: NoiseSource) -> None:
        noise.add_exponential(torch.zeros(2), 1.0 / len(data), "x")

    for run, message in ((more_steps, "Only one"), (other_shape, "took different"), (other_scale, "took different")):
        with pytest.raises(AssertionError, match=message):
            neighbours_differ_by(run, _data(3), _data(4), SECRET)
    with pytest.raises(AssertionError, match="took different"):
        neighbours_differ_by(more_steps, _data(4), _data(3), SECRET)


def test_replay_exposes_noise_that_is_used_twice_and_values_that_are_not_finite() -> None:
    def twice(data: LabelledImages, noise: NoiseSource) -> None:
        noise.add_gaussian([torch.zeros(1)], 1.0, "x")
        noise.add_gaussian([torch.ones(1)], 1.0, "x")

    def infinite(data: LabelledImages, noise: NoiseSource) -> None:
        noise.add_gaussian([torch.tensor([float("inf")])], 1.0, "x")

    with pytest.raises(AssertionError, match="a second time"):
        neighbours_differ_by(twice, _data(3), _data(4), SECRET)
    with pytest.raises(AssertionError, match="not finite"):
        neighbours_differ_by(infinite, _data(3), _data(4), SECRET)


def test_replay_answers_alike_and_notes_samples() -> None:
    first = RecordingNoise(SECRET)
    (answer,) = first.add_gaussian([torch.zeros(3)], 1.0, "x")
    second = RecordingNoise(bytes(32), answers=first.by_key)
    (same,) = second.add_gaussian([torch.ones(3)], 1.0, "x")
    assert torch.equal(answer, same) and second.releases[0].exact[0].tolist() == [1, 1, 1]
    sample = first.poisson_sample(10, 0.5, "x", 2)
    assert first.samples == [("x", 2, sample)]
