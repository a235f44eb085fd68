"""The only way to private images: what it refuses, and that nothing leaves but what was paid for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dpib.data.images import LabelledImages
from dpib.errors import BudgetExceeded, DataError, PrivacyError, UnaccountedAccess
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian
from dpib.privacy.ledger import parse_charges, read_ledger_lines
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import CHUNK, PrivateDataset
from dpib.privacy.rows import Statistic
from dpib.progress import RunEvent
from dpib.spec import Relation
from dpib.testing.replay import RecordingNoise

from .conftest import OTHER_SECRET, SECRET, TASK, Bench, make_images, open_bench

GAUSSIAN = SampledGaussian(noise_multiplier=5.0, sample_rate=0.1, steps=3)


def pixels(images: Tensor, labels: Tensor) -> Tensor:
    return images.flatten(1).float()


@pytest.mark.parametrize(
    "access",
    [
        iter,
        list,
        len,
        bool,
        reversed,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda p: p[0],
        lambda p: p[1:3],
        lambda p: p["images"],
        lambda p: torch.zeros(1) in p,
        lambda p: dict(p),
        lambda p: [*p],
    ],
)
def test_private_images_cannot_be_walked_counted_copied_or_saved(
    bench: Bench, access: Callable[[PrivateDataset], object]
) -> None:
    with pytest.raises(UnaccountedAccess):
        access(bench.private)


def test_private_images_are_not_in_the_text_of_the_object(bench: Bench) -> None:
    assert "tensor" not in repr(bench.private) and "64" not in repr(bench.private).split(" at ")[0]


def test_images_of_another_task_are_refused(tmp_path: Path) -> None:
    wrong = LabelledImages(torch.zeros((2, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, TASK.n_classes]))
    with pytest.raises(DataError):
        open_bench(tmp_path, wrong)


# ---- noisy sums ----


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_a_noisy_sum_is_the_clipped_sum_over_the_sample(tmp_path: Path, sample_rate: float) -> None:
    data = make_images(2 * CHUNK + 7)
    noise = RecordingNoise(SECRET)
    out = open_bench(tmp_path, data, noise=noise).private.noisy_sum(
        pixels, label="x", clipping_norm=9.0, noise_multiplier=1.0, sample_rate=sample_rate
    )
    sample = noise.samples[0][2]
    rows = pixels(data.images[sample], data.labels[sample]).double()
    expected = (rows * (9.0 / rows.norm(dim=1, keepdim=True)).clamp(max=1.0)).sum(0)
    torch.testing.assert_close(noise.releases[0].exact[0], expected)
    assert out.dtype == torch.float32 and out.shape == (64,)
    torch.testing.assert_close(out, noise.releases[0].answer[0].float())


def test_a_sum_by_class_adds_each_row_to_its_label_and_has_a_row_for_classes_that_do_not_occur(tmp_path: Path) -> None:
    images = make_images(10)
    data = LabelledImages(images.images, torch.tensor([0, 2] * 5))
    noise = RecordingNoise(SECRET)
    open_bench(tmp_path, data, noise=noise).private.noisy_sum(
        pixels, label="x", clipping_norm=1e9, noise_multiplier=1.0, by_class=True
    )
    (exact,) = noise.releases[0].exact
    torch.testing.assert_close(exact[0], pixels(data.images[::2], data.labels[::2]).double().sum(0))
    torch.testing.assert_close(exact[2], pixels(data.images[1::2], data.labels[1::2]).double().sum(0))
    assert exact[1].abs().max() == 0


def test_an_empty_dataset_has_a_sum_too(tmp_path: Path) -> None:
    out = open_bench(tmp_path, make_images(0)).private.noisy_sum(
        pixels, label="x", clipping_norm=1.0, noise_multiplier=1.0
    )
    assert out.shape == (64,) and out.abs().min() > 0


def test_a_statistic_cannot_change_the_private_images(bench: Bench) -> None:
    def vandal(images: Tensor, labels: Tensor) -> Tensor:
        images.zero_()
        labels.zero_()
        return images.flatten(1).float()

    bench.private.noisy_sum(vandal, label="x", clipping_norm=1.0, noise_multiplier=1.0)
    assert torch.equal(bench.private._data.images, make_images().images)
    assert torch.equal(bench.private._data.labels, make_images().labels)


def test_a_statistic_that_doubles_its_labels_cannot_give_two_rows_for_a_record(bench: Bench) -> None:
    def doubling(images: Tensor, labels: Tensor) -> Tensor:
        if len(images) == 1:
            return images.flatten(1).float()
        labels.resize_(2 * len(images)).zero_()
        return images.flatten(1).float().repeat(2, 1)

    with pytest.raises(PrivacyError, match="one float row per image"):
        bench.private.noisy_sum(doubling, label="x", clipping_norm=1.0, noise_multiplier=1.0, by_class=True)


@pytest.mark.parametrize(
    "statistic",
    [
        lambda images, labels: images.flatten(1),
        lambda images, labels: images.float(),
        lambda images, labels: torch.zeros(len(images)),
        lambda images, labels: torch.zeros(2 * len(images), 3),
        lambda images, labels: torch.zeros(len(images), 3, dtype=torch.int64),
    ],
)
def test_a_statistic_of_another_form_is_refused_on_a_blank_image(bench: Bench, statistic: Any) -> None:
    def never(indices: Tensor) -> Any:
        raise AssertionError("private data was read")

    bench.private._chunks = never  # type: ignore[method-assign]
    with pytest.raises(PrivacyError, match=r"of 1 image as float \(1, D\)"):
        bench.private.noisy_sum(statistic, label="x", clipping_norm=1.0, noise_multiplier=5.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.mean(0, keepdim=True),
        lambda rows: rows[:-1],
        lambda rows: rows[:, :5],
        lambda rows: rows.long(),
        lambda rows: rows[:, :1],
        lambda rows: rows.sum(),
        lambda rows: rows[rows[:, 0] > 100],
    ],
)
def test_a_statistic_that_changes_its_form_on_private_data_is_refused_without_telling_a_count(
    bench: Bench, change: Any
) -> None:
    def statistic(images: Tensor, labels: Tensor) -> Tensor:
        return change(pixels(images, labels)) if len(images) > 1 else pixels(images, labels)

    with pytest.raises(PrivacyError, match="one float row per image") as error:
        bench.private.noisy_sum(statistic, label="sums", clipping_norm=1.0, noise_multiplier=5.0)
    assert not any(character.isdigit() for character in str(error.value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"clipping_norm": 0.0},
        {"clipping_norm": -1.0},
        {"clipping_norm": float("nan")},
        {"clipping_norm": float("inf")},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -2.0},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": float("inf")},
        {"sample_rate": 0.0},
        {"sample_rate": 1.0 + 1e-9},
        {"releases": 0},
        {"releases": 1.5},
    ],
    ids=str,
)
def test_sums_that_are_no_mechanism_are_refused_before_any_charge(bench: Bench, wrong: dict[str, Any]) -> None:
    before = bench.text
    with pytest.raises(PrivacyError):
        bench.private.plan_noisy_sums(
            **{"releases": 2, "label": "x", "clipping_norm": 1.0, "noise_multiplier": 5.0, **wrong}
        )
    assert bench.text == before


def test_a_plan_is_charged_whole_and_cannot_be_overdrawn_or_rewound(bench: Bench) -> None:
    plan = bench.private.plan_noisy_sums(3, label="x", clipping_norm=1.0, noise_multiplier=5.0)
    assert bench.ledger.charges[0].event == SampledGaussian(noise_multiplier=5.0, steps=3)
    plan.release(pixels)
    plan.release(pixels, 1)
    for used in (0, 1, -1, 3):
        with pytest.raises(PrivacyError, match="not available"):
            plan.release(pixels, used)
    assert parse_charges(read_ledger_lines(bench.path))[1] == {}
    plan.release(pixels)
    assert parse_charges(read_ledger_lines(bench.path))[1] == {"train-0001": 3}
    with pytest.raises(PrivacyError, match="3 are paid for, 3 are used"):
        plan.release(pixels)


def test_every_release_of_a_plan_draws_its_own_poisson_sample(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    plan = open_bench(tmp_path, noise=noise).private.plan_noisy_sums(
        3, label="x", clipping_norm=1.0, noise_multiplier=5.0, sample_rate=0.5
    )
    for _ in range(3):
        plan.release(pixels)
    samples = [set(sample.tolist()) for _, _, sample in noise.samples]
    assert len(samples) == 3 and all(20 < len(sample) < 44 for sample in samples)
    assert all(len(a ^ b) > 15 for a, b in zip(samples, [*samples[1:], samples[0]], strict=True))


def test_a_release_that_failed_cannot_be_made_again_with_another_statistic(bench: Bench) -> None:
    def fail(images: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("halfway")

    plan = bench.private.plan_noisy_sums(2, label="x", clipping_norm=1.0, noise_multiplier=5.0)
    with pytest.raises(RuntimeError):
        plan.release(fail)
    with pytest.raises(PrivacyError, match="not available"):
        plan.release(pixels, 0)
    plan.release(pixels)


def test_after_a_crash_a_plan_must_be_told_which_release_it_makes(tmp_path: Path) -> None:
    """Counting from 0 again would put the noise of the first release on the value of a later one."""

    def plan(folder: Path) -> Any:
        return open_bench(folder).private.plan_noisy_sums(3, label="x", clipping_norm=1.0, noise_multiplier=5.0)

    begun = plan(tmp_path)
    first, second = begun.release(pixels), begun.release(pixels)
    continued = plan(tmp_path)
    with pytest.raises(PrivacyError, match="Give release\\(\\) the number"):
        continued.release(pixels)
    assert torch.equal(continued.release(pixels, 1), second)
    third = continued.release(pixels, 2)
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_a_single_noisy_sum_is_found_again_after_a_crash(tmp_path: Path) -> None:
    once, again = (
        open_bench(tmp_path).private.noisy_sum(pixels, label="x", clipping_norm=1.0, noise_multiplier=5.0)
        for _ in range(2)
    )
    assert torch.equal(once, again)
    assert len(read_ledger_lines(tmp_path / "ledger.jsonl")) == 3


def draws_of_a_statistic(folder: Path, n: int, secret: bytes = SECRET) -> list[float]:
    """Return what a statistic and a ballot draw per blank image and chunk; the global generator must not notice."""
    folder.mkdir()
    private = open_bench(folder, make_images(n), noise=NoiseSource(secret)).private
    drawn: list[float] = []

    def rows(images: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn(len(images), 4)
        drawn.append(float(noise[0, 0]))
        return noise

    def scores(images: Tensor, labels: Tensor) -> Tensor:
        return rows(images, labels)[:, 0]

    state = torch.random.get_rng_state()
    private.noisy_sum(rows, label="one", clipping_norm=1.0, noise_multiplier=5.0)
    plan = private.plan_noisy_sums(2, label="plan", clipping_norm=1.0, noise_multiplier=5.0)
    plan.release(rows)
    plan.release(rows)
    ballot = private.noisy_argmax(2, epsilon=1.0, label="ballot")
    ballot.score(scores)
    ballot.score(scores)
    assert torch.equal(torch.random.get_rng_state(), state)
    return drawn


def test_a_statistic_draws_from_the_secret_anew_and_leaves_public_randomness_where_it_was(tmp_path: Path) -> None:
    """Else the draws of all that is public would tell how many records there are, and go by a record's place."""
    drawn = draws_of_a_statistic(tmp_path / "a", 2 * CHUNK + 7)
    assert len(drawn) == len(set(drawn)) == 3 * 4 + 2 * 3
    assert draws_of_a_statistic(tmp_path / "b", 2 * CHUNK + 7) == drawn
    assert not set(draws_of_a_statistic(tmp_path / "c", 2 * CHUNK + 7, OTHER_SECRET)) & set(drawn)
    assert set(draws_of_a_statistic(tmp_path / "d", 5)) < set(drawn)
    assert len(draws_of_a_statistic(tmp_path / "e", 0)) == 3


# ---- ballots ----


def correct(images: Tensor, labels: Tensor) -> Tensor:
    return (labels == 1).double()


def _matches(label: int) -> Statistic:
    return lambda images, labels: (labels == label).float()


def _constant(value: float) -> Statistic:
    return lambda images, labels: torch.full((len(labels),), value)


def test_a_ballot_scores_exactly_the_candidates_it_was_charged_for(bench: Bench) -> None:
    ballot = bench.private.noisy_argmax(2, epsilon=1.0, label="choose")
    assert bench.ledger.charges[0].event == PureDp(epsilon=1.0)
    with pytest.raises(PrivacyError, match="0 of 2 were scored"):
        ballot.winner()
    ballot.score(correct)
    with pytest.raises(PrivacyError, match="1 of 2 were scored"):
        ballot.winner()
    ballot.score(correct)
    with pytest.raises(PrivacyError, match="2 candidates, not more"):
        ballot.score(correct)
    assert ballot.winner() == ballot.winner()
    with pytest.raises(PrivacyError, match="at least one candidate"):
        bench.private.noisy_argmax(0, epsilon=1.0, label="none")


@pytest.mark.parametrize(
    "scores",
    [
        lambda images, labels: correct(images, labels)[:, None],
        lambda images, labels: labels[:, None] == labels,  # a comparison that was broadcast: n points a record
        lambda images, labels: correct(images, labels).mean(),
        lambda images, labels: correct(images, labels)[:-1],
    ],
)
def test_a_ballot_takes_one_score_per_record_only(bench: Bench, scores: Any) -> None:
    ballot = bench.private.noisy_argmax(1, epsilon=1.0, label="choose")
    with pytest.raises(PrivacyError, match="one score per record") as error:
        ballot.score(scores)
    assert "64" not in str(error.value)


def test_the_winner_is_the_noisy_best_and_its_index_all_that_leaves(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    bench = open_bench(tmp_path, noise=noise)
    found = []
    for name in ("one", "two", "three"):
        ballot = bench.private.noisy_argmax(40, epsilon=0.05, label=name)
        for candidate in range(40):
            ballot.score(_matches(candidate % 3))
        chosen = ballot.winner()
        assert type(chosen) is int
        found.append(chosen)
    for release, chosen in zip(noise.releases, found, strict=True):
        assert chosen == int(release.answer[0].argmax())
        assert release.scale == 20.0
    assert found != [int(release.exact[0].argmax()) for release in noise.releases], "the clean best was chosen"
    lines = read_ledger_lines(bench.path)
    assert [set(line) for line in lines if line["type"] == "done"] == [{"type", "id", "steps_executed"}] * 3
    assert all(line["steps_executed"] == 1 for line in lines if line["type"] == "done")


def test_under_replace_one_a_ballot_has_twice_the_noise(tmp_path: Path) -> None:
    """A replaced record lowers one total and raises another."""
    noise = RecordingNoise(SECRET)
    ballot = open_bench(tmp_path, noise=noise, relation=Relation.REPLACE_ONE).private.noisy_argmax(
        1, epsilon=0.5, label="x"
    )
    ballot.score(correct)
    ballot.winner()
    assert noise.releases[0].scale == 4.0


def test_scores_of_a_ballot_are_clamped_to_one_point_a_record(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    ballot = open_bench(tmp_path, noise=noise).private.noisy_argmax(4, epsilon=1.0, label="x")
    for value in (float("nan"), float("inf"), -3.0, 0.25):
        ballot.score(_constant(value))
    ballot.winner()
    assert noise.releases[0].exact[0].tolist() == [0.0, 64.0, 0.0, 16.0]


# ---- raw access ----


def test_declared_access_is_charged_as_declared_before_records_are_handed_out(bench: Bench) -> None:
    with bench.private.declared(GAUSSIAN, label="x", reason="none fits", source="Appendix B") as data:
        (charge,) = bench.ledger.charges
        assert len(data) == 64
        assert parse_charges(read_ledger_lines(bench.path))[1] == {}
    assert charge.event == GAUSSIAN and (charge.assurance, charge.sampling) == ("declared", "poisson")
    assert "none fits" in charge.notes and "Appendix B" in charge.notes
    assert parse_charges(read_ledger_lines(bench.path))[1] == {charge.id: 3}


def test_a_declared_access_to_all_records_is_entered_as_full(bench: Bench) -> None:
    with bench.private.declared(SampledGaussian(noise_multiplier=5.0), label="x", reason="a", source="b"):
        assert bench.ledger.charges[0].sampling == "full"


@pytest.mark.parametrize(
    ("event", "reason", "source"),
    [
        (GAUSSIAN, " ", "Appendix B"),
        (GAUSSIAN, "none fits", ""),
        (PureDp(epsilon=0.1), "a", "b"),
        (NonPrivate(), "a", "b"),
    ],
)
def test_declared_access_needs_a_gaussian_event_a_reason_and_a_source(
    bench: Bench, event: Any, reason: str, source: str
) -> None:
    before = bench.text
    with (
        pytest.raises(PrivacyError),
        bench.private.declared(event, label="x", reason=reason, source=source),
    ):
        pytest.fail("records were handed out")
    assert bench.text == before


def test_reveal_is_charged_as_infinite_and_refused_under_any_finite_budget(tmp_path: Path, bench: Bench) -> None:
    data = bench.private.reveal(label="x")
    assert len(data) == 64 and bench.ledger.spent() == float("inf")
    assert bench.ledger.charges[0].assurance == "non-private"
    (tmp_path / "finite").mkdir()
    with pytest.raises(BudgetExceeded):
        open_bench(tmp_path / "finite", epsilon=1e6).private.reveal(label="x")


# ---- what is told about ----


def everything(bench: Bench) -> None:
    private = bench.private
    private.noisy_sum(pixels, label="sum", clipping_norm=1.0, noise_multiplier=1.0)
    plan = private.plan_noisy_sums(2, label="plan", clipping_norm=1.0, noise_multiplier=1.0, sample_rate=0.3)
    plan.release(pixels)
    plan.release(pixels)
    ballot = private.noisy_argmax(2, epsilon=1.0, label="ballot")
    ballot.score(correct)
    ballot.score(correct)
    ballot.winner()
    model = nn.Linear(64, 1)
    private.train(
        model,
        lambda images, labels: model(pixels(images, labels))[:, 0],
        DpSgdPlan(steps=3, sample_rate=0.3, clipping_norm=1.0, noise_multiplier=1.0),
        label="train",
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        physical_batch_size=4,
    )


def test_nothing_derived_from_private_data_is_told_logged_or_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Two datasets that differ in size, content and classes: the same events, the same files, the same ledger."""
    told: list[list[tuple[object, ...]]] = []
    kept: list[dict[str, int]] = []
    ledgers: list[str] = []
    for name, data in (("small", make_images(5, seed=1)), ("large", make_images(2500, seed=2))):
        folder = tmp_path / name
        folder.mkdir()
        bench = open_bench(folder, data)
        everything(bench)
        told.append([(e.kind, e.stage, e.done, e.total, e.message) for e in bench.events])
        kept.append({str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()})
        ledgers.append(bench.text)
    assert told[0] == told[1] and len(told[0]) > 10
    assert {event[3] for event in told[0]} <= {None, 3}
    assert kept[0] == kept[1] and set(kept[0]) == {
        "ledger.jsonl",
        "state/train.pt",
        "state/train-preparation.pt",
    }
    assert ledgers[0] == ledgers[1]
    assert capfd.readouterr() == ("", "") and caplog.text == ""
    assert RunEvent.__dataclass_fields__.keys() == {"kind", "stage", "done", "total", "seconds", "message"}
