"""Disjoint parts with private models: one record moves one part's releases, by the bound; nothing else comes out."""

from __future__ import annotations

import math
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dpib.data.images import LabelledImages
from dpib.data.parts import part_numbers
from dpib.errors import BudgetExceeded, PrivacyError, RunError
from dpib.privacy.accountants import calibrate, epsilon, gaussian_epsilon
from dpib.privacy.events import EVENT, PartitionedGaussian, SampledGaussian
from dpib.privacy.groups import group_guarantee
from dpib.privacy.ledger import Charge, parse_charges, read_ledger_lines
from dpib.privacy.noise import NoiseSource
from dpib.privacy.parts import PartReleases
from dpib.privacy.statement import describe_charge
from dpib.spec import Relation, RunSpec, TaskInfo, delta_for
from dpib.testing.replay import RecordingNoise, Release
from dpib.workspace import Workspace

from . import conftest
from .conftest import SECRET, Bench, make_images

D = delta_for(55_000)
TOY = TaskInfo(dataset="toy", shape=(1, 4, 4), classes=("a", "b", "c"), nominal_size=8)
ROWS, WIDTH, NORM, PARTS, STEPS = 5, 3, 0.25, 3, 7
BOUND = 2 * NORM * math.sqrt(ROWS)
MARK = 200


def open_bench(folder: Path, data: LabelledImages | None = None, **more: Any) -> Bench:
    folder.mkdir(exist_ok=True)
    return conftest.open_bench(folder, data, **more)


class Mean:
    """A running mean of everything the part saw: pixels, draws, queries."""

    def warm_up(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        return {"mean": images.float().mean() * 1e3 + torch.randn(ROWS, WIDTH), "visits": 0}

    def respond(
        self, state: dict[str, Any], images: Tensor, labels: Tensor, query: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        mean = state["mean"] + images.float().std() + query["at"] + torch.randn(ROWS, WIDTH)
        return {"mean": mean, "visits": state["visits"] + 1}, mean


class Turncoat(Mean):
    """Answers one thing, and the opposite as soon as a marked record is in the part: the worst case."""

    def respond(
        self, state: dict[str, Any], images: Tensor, labels: Tensor, query: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        sign = -1.0 if bool((images[:, 0, 0, 0] == MARK).any()) else 1.0
        return state, sign * 1e6 * torch.ones(ROWS, WIDTH)


class Trapped(Mean):
    """Rows that are not finite, or as large or small as float32 goes, where the part has a bright pixel."""

    def respond(
        self, state: dict[str, Any], images: Tensor, labels: Tensor, query: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        rows = torch.full((ROWS, WIDTH), float(images.max()))
        rows[0, 0], rows[1], rows[2], rows[3] = float("nan"), float("inf"), 3e38, 1e-44
        return state, rows * (1 if int(images.max()) > 100 else -1)


def plan(bench: Bench, model: Any = None, releases: int = STEPS, parts: int = PARTS, **more: Any) -> PartReleases:
    fixed = {"label": "x", "shape": (ROWS, WIDTH), "row_norm": NORM, "noise_multiplier": 5.0, **more}
    return bench.private.plan_part_releases(model or Mean(), releases, parts=parts, **fixed)


def play(bench: Bench, model: Any = None, steps: int = STEPS, die_after: int | None = None) -> Tensor:
    """Make all releases, each query following from the releases before, in a loop that survives crashes."""
    at = torch.nn.Linear(WIDTH, ROWS, bias=False)
    torch.nn.init.zeros_(at.weight)
    releases = plan(bench, model, steps)
    for step in bench.context.steps("loop", steps, {"at": at, "releases": releases}):
        at.weight.data += releases.release(step, {"at": at.weight})
        if step == die_after:
            raise Killed
    return at.weight.data


records = st.tuples(st.sampled_from([0, 3, 100, MARK, 255]), st.integers(0, 255), st.integers(0, 2))


def build(rows: list[tuple[int, int, int]]) -> LabelledImages:
    images = torch.zeros((len(rows), *TOY.shape), dtype=torch.uint8)
    for image, (first, fill, _) in zip(images, rows, strict=True):
        image.fill_(fill)
        image[0, 0, 0] = first
    return LabelledImages(images, torch.tensor([label for *_, label in rows], dtype=torch.int64))


def releases_on(data: LabelledImages, model: Any, answers: Mapping[Any, Release] | None = None) -> list[Release]:
    noise = RecordingNoise(SECRET, answers)
    with tempfile.TemporaryDirectory() as folder:
        play(open_bench(Path(folder), data, noise=noise, task=TOY), model)
    return noise.releases


def gaps_by_part(without: LabelledImages, within: LabelledImages, model: Any) -> list[list[float]]:
    """Return, per part, how far its releases lie apart on two datasets that are answered alike."""
    ours = releases_on(without, model)
    theirs = releases_on(within, model, {(r.charge, r.step): r for r in ours})
    gaps: list[list[float]] = [[] for _ in range(PARTS)]
    for a, b in zip(ours, theirs, strict=True):
        assert (a.step, a.scale) == (b.step, b.scale)
        gaps[a.step % PARTS].append(float((a.exact[0] - b.exact[0]).norm()))
    return gaps


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(records, max_size=7), records, st.sampled_from([Mean, Turncoat, Trapped]))
@example([], (MARK, 0, 0), Turncoat)
@example([(0, 0, 0)], (255, 255, 0), Trapped)
@example([(255, 255, 1)] * 5, (255, 255, 1), Mean)
def test_one_record_moves_the_releases_of_its_part_by_at_most_the_bound(
    rows: list[tuple[int, int, int]], extra: tuple[int, int, int], model: type[Mean]
) -> None:
    without, within = build(rows), build([*rows, extra])
    own = int(part_numbers(within, TOY.dataset, PARTS)[-1])
    for part, gaps in enumerate(gaps_by_part(without, within, model())):
        assert max(gaps) <= (BOUND * (1 + 1e-9) if part == own else 0.0)


def test_the_bound_is_reached() -> None:
    plain = [(0, fill, 0) for fill in range(40)]
    gaps = gaps_by_part(build(plain), build([*plain, (MARK, 9, 1)]), Turncoat())
    moved = [part for part in gaps if max(part) > 0]
    assert len(moved) == 1
    assert all(gap == pytest.approx(BOUND, rel=1e-9) for gap in moved[0])


@settings(max_examples=50, deadline=None)
@given(st.lists(records, min_size=1, max_size=12), st.integers(1, 50), st.randoms())
def test_a_part_is_a_function_of_the_record_alone(rows: list[tuple[int, int, int]], parts: int, random: Any) -> None:
    together = part_numbers(build(rows), "toy", parts).tolist()
    assert together == [int(part_numbers(build([row]), "toy", parts)) for row in rows]
    order = random.sample(range(len(rows)), random.randint(1, len(rows)))
    assert part_numbers(build([rows[i] for i in order]), "toy", parts).tolist() == [together[i] for i in order]
    assert all(0 <= part < parts for part in together)


def test_parts_are_even_and_depend_on_pixels_label_and_dataset() -> None:
    data = make_images(4000)
    counts = part_numbers(data, "toy", 16).bincount(minlength=16)
    assert 150 < int(counts.min()) <= int(counts.max()) < 350  # 250 expected, 15 is one standard deviation
    others = [LabelledImages(data.images, (data.labels + 1) % 3), LabelledImages(255 - data.images, data.labels)]
    numbers = [part_numbers(other, "toy", 16) for other in others] + [part_numbers(data, "other", 16)]
    assert all(float((part_numbers(data, "toy", 16) == other).float().mean()) < 0.12 for other in numbers)


@pytest.mark.parametrize(
    ("steps", "target", "per_row"), [(2_000, 1, 32.95), (2_000, 10, 4.258), (20_000, 1, 104.2), (20_000, 10, 13.46)]
)
def test_noise_of_the_privacy_reference(steps: int, target: float, per_row: float) -> None:
    event = PartitionedGaussian(noise_multiplier=1.0, parts=1_000, steps=steps)
    sigma = calibrate([], event, target, D)
    assert sigma * math.sqrt(32) == pytest.approx(per_row, rel=5e-4)  # the page's noise is relative to one of 32 rows
    assert 0.999 * target <= epsilon([event.with_noise(sigma)], D) <= target


@pytest.mark.parametrize(("steps", "each"), [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (2_000, 2), (20_001, 21)])
def test_a_record_pays_for_the_turns_of_its_part(steps: int, each: int) -> None:
    event = PartitionedGaussian(noise_multiplier=3.0, parts=1_000, steps=steps)
    assert event.steps_per_part == each
    assert epsilon([event], D) == epsilon([SampledGaussian(noise_multiplier=3.0, steps=each)], D)
    beside = SampledGaussian(noise_multiplier=4.0, sample_rate=0.1, steps=7)
    both = epsilon([event, beside], D)
    assert both == epsilon([SampledGaussian(noise_multiplier=3.0, steps=each), beside], D) > epsilon([beside], D)
    assert EVENT.validate_python(event.model_dump(mode="json")) == event


def test_under_replace_one_a_record_that_changes_parts_is_paid_for() -> None:
    event = PartitionedGaussian(noise_multiplier=3.0, parts=10, steps=40)
    both_parts = gaussian_epsilon(math.sqrt(2 * 4) / 3.0, D)
    assert epsilon([event], D, relation=Relation.REPLACE_ONE) >= both_parts


@pytest.mark.parametrize(("size", "seen"), [(2, 8), (5, 20), (10, 37), (100, 37)])
def test_a_group_moves_as_many_parts_as_it_has_records(size: int, seen: int) -> None:
    event = PartitionedGaussian(noise_multiplier=9.0, parts=10, steps=37)
    charge = Charge(id="train-1", side="train", label="x", event=event)
    group = group_guarantee([charge], 1.0, D, size)
    assert group.epsilon == pytest.approx(gaussian_epsilon(math.sqrt(seen) / 9.0, D), rel=1e-9)
    assert "parts" in group.formula


def test_the_ledger_says_that_it_is_parallel_and_is_paid_before_anything_is_read(tmp_path: Path) -> None:
    bench = open_bench(tmp_path, epsilon=1.0)
    releases = plan(bench, noise_multiplier=None, parts=8, releases=20)
    (charge,) = bench.ledger.charges
    assert charge.event == PartitionedGaussian(noise_multiplier=releases.noise_multiplier, parts=8, steps=20)
    assert (charge.sampling, charge.sensitivity, charge.norm) == ("parts", pytest.approx(BOUND), "l2")
    assert "parallel over 8 parts" in charge.notes
    assert "parallel over 8 disjoint parts of the records, at most 3 on each" in describe_charge(charge)
    with pytest.raises(BudgetExceeded):
        plan(bench, label="y")


def test_noise_has_the_charged_scale_and_empty_parts_answer_it_alone(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    bench = open_bench(tmp_path, make_images(0), noise=noise)
    play(bench)
    assert [release.step for release in noise.releases] == list(range(STEPS))
    assert all(release.scale == pytest.approx(5.0 * BOUND) for release in noise.releases)
    assert all(int(release.exact[0].count_nonzero()) == 0 for release in noise.releases)
    assert parse_charges(read_ledger_lines(bench.path))[1] == {"train-0001": STEPS}


def test_nothing_but_the_answer_comes_out(tmp_path: Path) -> None:
    class Vandal(Mean):
        def respond(self, state: Any, images: Tensor, labels: Tensor, query: Any) -> Any:
            for tensor in (images, labels, query["at"]):
                tensor.zero_()
            torch.rand(len(images))
            return super().respond(state, images.float(), labels, query)

    bench = open_bench(tmp_path)
    releases, at = plan(bench, Vandal()), torch.ones(ROWS, WIDTH)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    releases.release(0, {"at": at})
    assert torch.equal(torch.rand(4), expected)
    assert bool((at == 1).all())
    assert torch.equal(bench.private._data.images, make_images().images)
    assert releases.state_dict() == {"released": 1}


def test_draws_inside_are_of_the_secret_and_not_of_the_seed(tmp_path: Path) -> None:
    exact = []
    for number, (secret, seed) in enumerate([(SECRET, 0), (SECRET, 1), (bytes(range(1, 33)), 0)]):
        noise = RecordingNoise(secret)
        play(open_bench(tmp_path / str(number), noise=noise, seed=seed))
        exact.append(noise.releases[0].exact[0])
    assert torch.equal(exact[0], exact[1])
    assert not torch.equal(exact[0], exact[2])


class Killed(BaseException):
    pass


class Deadly(Mean):
    def __init__(self, at: int) -> None:
        self._left = at

    def respond(self, state: Any, images: Tensor, labels: Tensor, query: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return super().respond(state, images, labels, query)


def hidden(folder: Path) -> list[Path]:
    return [path for path in (folder / "state" / "hidden").rglob("*") if path.is_file()]


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["checkpoint every step", "no checkpoint"])
@pytest.mark.parametrize("deaths", [(0,), (3,), (4, 1), (6,), (5, 1, 0)], ids=str)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, deaths: tuple[int, ...]
) -> None:
    whole = play(open_bench(tmp_path / "whole"))
    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", every)
    for at in deaths:
        with pytest.raises(Killed):
            play(open_bench(tmp_path / "killed"), Deadly(at))
    assert {stat.S_IMODE(path.stat().st_mode) for path in hidden(tmp_path / "killed")} <= {0o600}
    assert len(hidden(tmp_path / "killed")) <= 3 * PARTS
    bench = open_bench(tmp_path / "killed")
    assert torch.equal(play(bench), whole)
    assert len(bench.ledger.charges) == 1
    assert hidden(tmp_path / "killed") == []


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["checkpoint every step", "no checkpoint"])
def test_a_run_that_was_killed_between_its_last_release_and_its_last_checkpoint_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float
) -> None:
    whole = play(open_bench(tmp_path / "whole"))
    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", every)
    with pytest.raises(Killed):
        play(open_bench(tmp_path / "killed"), die_after=STEPS - 1)
    assert bool(hidden(tmp_path / "killed")) is (every == 0.0)  # without a checkpoint it starts anew
    bench = open_bench(tmp_path / "killed")
    assert torch.equal(play(bench), whole)
    assert len(bench.ledger.charges) == 1
    assert hidden(tmp_path / "killed") == []


def test_private_states_that_a_kill_after_the_last_checkpoint_left_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(releases: PartReleases) -> None:
        raise Killed

    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("dpib.privacy.parts._States.clear", die)
        play(open_bench(tmp_path))
    assert hidden(tmp_path)
    play(open_bench(tmp_path))
    assert hidden(tmp_path) == []


def test_checkpoints_hold_no_private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", 0.0)
    with pytest.raises(Killed):
        play(open_bench(tmp_path), Deadly(5))
    kept = torch.load(tmp_path / "state" / "loop.pt", weights_only=True)["carry"]["releases"]
    assert kept == {"released": 5}
    assert len(hidden(tmp_path)) >= PARTS


def test_a_lost_private_state_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpib.context.CHECKPOINT_EVERY_SECONDS", 0.0)
    with pytest.raises(Killed):
        play(open_bench(tmp_path), Deadly(5))
    for path in hidden(tmp_path):
        path.unlink()
    with pytest.raises(RunError, match="start anew"):
        play(open_bench(tmp_path))


def test_releases_are_made_in_turn_and_never_twice(bench: Bench) -> None:
    releases, query = plan(bench, releases=2), {"at": torch.zeros(ROWS, WIDTH)}
    for wrong in (1, -1, 2):
        with pytest.raises(PrivacyError, match="out of turn"):
            releases.release(wrong, query)
    releases.release(0, query)
    with pytest.raises(PrivacyError, match="carry"):
        releases.release(0, query)
    with pytest.raises(PrivacyError, match="rewound"):
        releases.load_state_dict({"released": 0})
    releases.release(1, query)
    with pytest.raises(PrivacyError, match="2 of 2"):
        releases.release(2, query)


@pytest.mark.parametrize(
    "change",
    [lambda r: r[:-1], lambda r: r[0], lambda r: r.long(), lambda r: r.T],
    ids=["a row less", "one row", "whole numbers", "turned"],
)
def test_rows_of_another_form_are_refused_without_telling_a_number(bench: Bench, change: Any) -> None:
    class Misshapen(Mean):
        def respond(self, state: Any, images: Tensor, labels: Tensor, query: Any) -> Any:
            return state, change(torch.ones(ROWS, WIDTH))

    with pytest.raises(PrivacyError, match="shape that was planned") as error:
        plan(bench, Misshapen()).release(0, {})
    assert not any(character.isdigit() for character in str(error.value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"row_norm": 0.0},
        {"row_norm": float("nan")},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("inf")},
        {"parts": 0},
        {"releases": 0},
        {"shape": (0, 3)},
    ],
    ids=str,
)
def test_plans_that_are_no_mechanism_are_refused_before_any_charge(bench: Bench, wrong: dict[str, Any]) -> None:
    before = bench.text
    with pytest.raises(PrivacyError):
        plan(bench, **wrong)
    assert bench.text == before


def test_a_finished_run_folder_holds_neither_secret_nor_private_state(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, RunSpec(method="m", dataset="digits", epsilon=1.0, track="demo-v1"))
    workspace.noise()
    (workspace.state / "hidden" / "train-0001").mkdir(parents=True)
    (workspace.state / "hidden" / "train-0001" / "000000-1.pt").touch()
    (workspace.state / "loop.pt").touch()
    workspace.forget_noise()
    assert [path.name for path in workspace.folder.rglob("*") if path.is_file()] == ["loop.pt"]


def test_secret_draws_of_purposes_and_steps_are_apart() -> None:
    noise, found = NoiseSource(SECRET), set()
    for purpose in ("warm-up", "respond", "loss"):
        for step in range(50):
            with noise.secret_torch(purpose, "train-0001", step):
                found.add(torch.initial_seed())
    assert len(found) == 150
