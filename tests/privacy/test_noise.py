"""The noise that is really added: right distribution, right scale, fresh, and never used twice."""

from __future__ import annotations

import stat
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from dpib.privacy import noise as module
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.noise import NoiseSource, forget_noise, noise_of_folder
from dpib.testing.replay import RecordingNoise

from .conftest import OTHER_SECRET, SECRET, TASK, Bench, open_bench

WIDE = 20_000


def assert_scale(
    draws: np.ndarray, cdf_of: Callable[[float], Callable[[np.ndarray], np.ndarray]], scale: float
) -> None:
    """Two-sided Kolmogorov-Smirnov: the right scale is accepted, two thirds and three halves of it are not."""
    assert stats.kstest(draws, cdf_of(scale)).pvalue > 0.01
    for wrong in (scale * 2 / 3, scale * 3 / 2):
        assert stats.kstest(draws, cdf_of(wrong)).pvalue < 1e-6


def gaussian_cdf(scale: float) -> Callable[[np.ndarray], np.ndarray]:
    return stats.norm(scale=scale).cdf


def zeros(images: Tensor, labels: Tensor) -> Tensor:
    return torch.zeros(len(images), WIDE)


def test_noisy_sum_releases_gaussian_noise_of_multiplier_times_clipping_norm(bench: Bench) -> None:
    out = bench.private.noisy_sum(zeros, label="x", clipping_norm=3.0, noise_multiplier=2.0)
    assert_scale(out.numpy(), gaussian_cdf, 6.0)
    assert out.std().item() == pytest.approx(6.0, rel=0.03)


def test_noisy_sum_by_class_noises_every_cell_alike(bench: Bench) -> None:
    out = bench.private.noisy_sum(zeros, label="x", clipping_norm=0.5, noise_multiplier=4.0, by_class=True)
    assert out.shape == (TASK.n_classes, WIDE)
    for row in out:
        assert_scale(row.numpy(), gaussian_cdf, 2.0)


def test_every_release_of_a_plan_has_its_own_noise_of_the_charged_scale(bench: Bench) -> None:
    plan = bench.private.plan_noisy_sums(3, label="x", clipping_norm=1.0, noise_multiplier=1.5, sample_rate=0.1)
    assert plan.noise_multiplier == 1.5
    draws = [plan.release(zeros).numpy() for _ in range(3)]
    for draw in draws:
        assert_scale(draw, gaussian_cdf, 1.5)
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 4 / np.sqrt(WIDE)


def test_calibrated_noise_is_what_the_ledger_says(tmp_path: Path) -> None:
    bench = open_bench(tmp_path, epsilon=1.0)
    out = bench.private.noisy_sum(zeros, label="x", clipping_norm=1.0)
    sigma = bench.ledger.charges[0].event.noise_multiplier  # type: ignore[union-attr]
    assert sigma == pytest.approx(4.119, abs=1e-3)
    assert_scale(out.numpy(), gaussian_cdf, sigma)


def _flat_model() -> tuple[nn.Linear, Callable[[Tensor, Tensor], Tensor]]:
    """A model of 20,000 weights and a loss without slope: what moves it is noise alone."""
    model = nn.Linear(64, WIDE // 64, bias=False)
    return model, lambda images, labels: model(images.flatten(1).float()).sum(1) * 0.0


def _noise_of_training(bench: Bench, label: str, steps: int, physical_batch_size: int = 64) -> list[np.ndarray]:
    model, loss = _flat_model()
    seen = [model.weight.detach().clone()]
    plan = DpSgdPlan(steps=steps, sample_rate=0.5, clipping_norm=0.25, noise_multiplier=8.0)
    bench.private.train(
        model,
        loss,
        plan,
        label=label,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        physical_batch_size=physical_batch_size,
        after_step=lambda step: seen.append(model.weight.detach().clone()),
    )
    expected_batch = 0.5 * TASK.nominal_size
    return [((before.double() - after.double()) * expected_batch).flatten().numpy() for before, after in pairwise(seen)]


@pytest.mark.parametrize("physical_batch_size", [1, 7, 64])
def test_dpsgd_releases_gaussian_noise_once_per_step_whatever_the_physical_batch(
    bench: Bench, physical_batch_size: int
) -> None:
    draws = _noise_of_training(bench, "x", 3, physical_batch_size)
    for draw in draws:
        assert_scale(draw, gaussian_cdf, 2.0)
        assert draw.std() == pytest.approx(2.0, rel=0.03)
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 4 / np.sqrt(WIDE)


def test_dpsgd_noise_of_two_phases_is_unrelated(bench: Bench) -> None:
    (one,), (two,) = _noise_of_training(bench, "one", 1), _noise_of_training(bench, "two", 1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(WIDE)


def test_ballot_adds_exponential_noise_of_one_over_epsilon(tmp_path: Path) -> None:
    noise = RecordingNoise(SECRET)
    bench = open_bench(tmp_path, noise=noise)
    ballot = bench.private.noisy_argmax(3000, epsilon=0.4, label="choose")
    for _ in range(3000):
        ballot.score(lambda images, labels: torch.ones(len(labels)))
    chosen = ballot.winner()
    (release,) = noise.releases
    added = (release.answer[0] - release.exact[0]).numpy()
    assert_scale(added, lambda scale: stats.expon(scale=scale).cdf, 2.5)
    assert chosen == int(added.argmax())


def test_a_worse_candidate_wins_as_often_as_permute_and_flip_says(tmp_path: Path) -> None:
    """Two candidates, a gap of 1: with noise of scale 1/eps the worse wins with probability exp(-eps)/2."""
    source, scale, n = NoiseSource(SECRET), 1 / 0.7, 4000
    totals = torch.tensor([10.0, 11.0], dtype=torch.float64)
    worse = sum(int(source.add_exponential(totals, scale, f"c{i}").argmax()) == 0 for i in range(n))
    assert stats.binomtest(worse, n, np.exp(-0.7) / 2).pvalue > 0.01
    assert stats.binomtest(worse, n, np.exp(-1.4) / 2).pvalue < 1e-6


def test_poisson_sample_takes_records_at_the_charged_rate() -> None:
    sample = NoiseSource(SECRET).poisson_sample(300_000, 0.01, "c", 0).numpy()
    assert (np.diff(sample) > 0).all() and sample.dtype == np.int64
    gaps = np.diff(sample).astype(float)

    def accept(rate: float) -> float:
        return float(stats.kstest(gaps, stats.geom(rate).cdf).pvalue)

    assert accept(0.01) > 0.01
    assert accept(0.01 * 2 / 3) < 1e-6 and accept(0.01 * 3 / 2) < 1e-6


def test_poisson_batches_vary_in_size_and_records_are_drawn_independently() -> None:
    """F1, F16: a shuffle has constant sizes and repeats nothing; a weighted sampler favours records."""
    source, n, rate, steps = NoiseSource(SECRET), 50, 0.3, 2000
    included = np.zeros((steps, n))
    for step in range(steps):
        included[step, source.poisson_sample(n, rate, "c", step).numpy()] = 1
    sizes = included.sum(1)
    variance = n * rate * (1 - rate)
    assert sizes.var() == pytest.approx(variance, rel=0.1)
    margin = stats.norm.ppf(1 - 0.01 / n / 2) * np.sqrt(rate * (1 - rate) / steps)
    assert np.abs(included.mean(0) - rate).max() < margin
    pairs = np.corrcoef(included.T) - np.eye(n)
    assert np.abs(pairs).max() < stats.norm.ppf(1 - 0.01 / n**2) / np.sqrt(steps)
    again = (included[:-1] * included[1:]).mean()
    assert again == pytest.approx(rate**2, rel=0.05)


def test_rate_one_takes_every_record_and_a_record_more_changes_no_other_coin() -> None:
    source = NoiseSource(SECRET)
    assert source.poisson_sample(5, 1.0, "c", 0).tolist() == [0, 1, 2, 3, 4]
    assert source.poisson_sample(0, 0.5, "c", 0).tolist() == []
    with_one_more = source.poisson_sample(41, 0.5, "c", 3)
    assert with_one_more[with_one_more < 40].tolist() == source.poisson_sample(40, 0.5, "c", 3).tolist()


def draw(source: NoiseSource, charge: str = "c", step: int = 0) -> np.ndarray:
    (out,) = source.add_gaussian([torch.zeros(WIDE, dtype=torch.float64)], 1.0, charge, step)
    return out.numpy()


def test_the_same_address_gives_the_same_noise_and_any_other_address_unrelated_noise() -> None:
    source = NoiseSource(SECRET)
    assert (draw(source) == draw(NoiseSource(SECRET))).all()
    exponential = source.add_exponential(torch.zeros(WIDE, dtype=torch.float64), 1.0, "c").numpy()
    coins = np.isin(np.arange(WIDE), source.poisson_sample(WIDE, 0.5, "c", 0).numpy()).astype(float)
    others = [
        draw(source, "c", 1),
        draw(source, "d", 0),
        draw(source, "c1", 0),
        draw(source, "c", 10),
        draw(NoiseSource(OTHER_SECRET)),
        exponential,
        coins,
    ]
    correlations = np.corrcoef([draw(source), *others]) - np.eye(len(others) + 1)
    assert np.abs(correlations).max() < 4.5 / np.sqrt(WIDE)


def test_coins_and_noise_of_one_step_do_not_come_from_the_same_bits() -> None:
    """If they did, the first draws of a step would go together: who is in a batch would show in its noise."""
    source, n = NoiseSource(SECRET), 3000
    first = np.zeros((3, n))
    for i in range(n):
        charge = f"c{i}"
        first[0, i] = len(source.poisson_sample(1, 0.5, charge, 0))
        first[1, i] = source.add_gaussian([torch.zeros(1, dtype=torch.float64)], 1.0, charge)[0].abs().item()
        first[2, i] = source.add_exponential(torch.zeros(1, dtype=torch.float64), 1.0, charge).item()
    assert np.abs(np.corrcoef(first) - np.eye(3)).max() < 4.5 / np.sqrt(n)


def test_parts_released_together_have_unrelated_noise() -> None:
    parts = NoiseSource(SECRET).add_gaussian([torch.zeros(WIDE), torch.zeros(100, WIDE // 100)], 1.0, "c")
    assert [tuple(part.shape) for part in parts] == [(WIDE,), (100, WIDE // 100)]
    assert abs(np.corrcoef(parts[0].numpy(), parts[1].flatten().numpy())[0, 1]) < 4 / np.sqrt(WIDE)


def test_noise_keeps_dtype_and_leaves_its_input_alone() -> None:
    exact = torch.ones(4, dtype=torch.float64)
    (noisy,) = NoiseSource(SECRET).add_gaussian([exact], 1.0, "c")
    assert noisy.dtype == torch.float64 and exact.tolist() == [1, 1, 1, 1]


def test_fresh_sources_differ() -> None:
    assert abs(np.corrcoef(draw(NoiseSource.from_os()), draw(NoiseSource.from_os()))[0, 1]) < 5 / np.sqrt(WIDE)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        NoiseSource(b"x" * length)


def test_public_seeds_do_not_reach_the_noise(tmp_path: Path) -> None:
    def release(seed: int) -> tuple[np.ndarray, np.ndarray]:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the legacy generator is what a careless method would seed
        (tmp_path / str(seed)).mkdir()
        bench = open_bench(tmp_path / str(seed), seed=seed)
        summed = bench.private.noisy_sum(zeros, label="x", clipping_norm=1.0, noise_multiplier=1.0)
        return summed.numpy(), _noise_of_training(bench, "y", 1)[0]

    (sum_0, train_0), (sum_1, train_1) = release(0), release(1)
    assert (sum_0 == sum_1).all()
    np.testing.assert_allclose(train_0, train_1, atol=1e-4)


def test_two_runs_with_the_same_public_seed_have_different_noise(tmp_path: Path) -> None:
    releases = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        source, session = noise_of_folder(tmp_path / run)
        bench = open_bench(tmp_path / run, noise=source, session=session, seed=7)
        out = bench.private.noisy_sum(zeros, label="x", clipping_norm=1.0, noise_multiplier=1.0)
        releases.append(out.numpy())
    assert abs(np.corrcoef(releases)[0, 1]) < 5 / np.sqrt(WIDE)


def test_a_folder_keeps_its_secret_to_its_owner_until_it_is_forgotten(tmp_path: Path) -> None:
    source, session = noise_of_folder(tmp_path)
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again, same_session = noise_of_folder(tmp_path)
    assert same_session == session and (draw(again) == draw(source)).all()
    secret = path.read_text()[len(session) :]
    assert len(bytes.fromhex(secret)) == module.SECRET_BYTES and secret[:16] != session
    forget_noise(tmp_path)
    forget_noise(tmp_path)
    assert list(tmp_path.iterdir()) == []
    other, other_session = noise_of_folder(tmp_path)
    assert other_session != session and not (draw(other) == draw(source)).any()


def test_a_tag_is_recognised_by_the_holder_of_the_secret_alone() -> None:
    tag = NoiseSource(SECRET).tag(b"one", b"two")
    assert tag == NoiseSource(SECRET).tag(b"onetwo") and len(tag) == 64
    assert tag != NoiseSource(OTHER_SECRET).tag(b"onetwo") and tag != NoiseSource(SECRET).tag(b"one")
