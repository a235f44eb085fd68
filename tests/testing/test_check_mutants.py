"""Every check can fail: for each there is a method with one fault that it, and hardly another, finds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import torch
from dpib_controls.correct import ClassMeans, DpSgdTiny, GaussianMean, pixels
from torch import Tensor

from dpib import catalogue
from dpib.api import MethodConfig, SampledGaussian, Synthesizer
from dpib.contribution import InstalledMethod
from dpib.data.images import LabelledImages
from dpib.data.parts import part_numbers
from dpib.privacy.accountants import calibrate
from dpib.privacy.ledger import Budget
from dpib.privacy.noise import NoiseSource
from dpib.privacy.private import PrivateDataset
from dpib.privacy.rows import clip_rows
from dpib.spec import Family, MethodCard
from dpib.synthesizer import Method
from dpib.testing import check_method
from dpib.testing.checks import CHECKS
from dpib.testing.suite import explain
from dpib.verdicts import Verdict

MUTANTS: dict[str, tuple[type[Synthesizer], set[str]]] = {}
"""Name -> class and the checks that must fail, all of them."""


def mutant(*flagged: str) -> Callable[[type[Synthesizer]], type[Synthesizer]]:
    def add(cls: type[Synthesizer]) -> type[Synthesizer]:
        MUTANTS[cls.__name__] = (cls, set(flagged))
        return cls

    return add


def installed(cls: type[Synthesizer], **card: object) -> InstalledMethod:
    fields = {"name": "mutant", "title": "", "summary": "", "family": Family.REFERENCE, "noise_location": None, **card}
    method = Method(MethodCard.model_validate(fields), implementation=f"{cls.__module__}:{cls.__qualname__}")
    return InstalledMethod(method, "tests", "0")


def failures(verdict: Verdict) -> set[str]:
    return {result.id for result in verdict.with_outcome("failed")}


@mutant("runs")
class Breaks(GaussianMean):
    def fit(self, private: PrivateDataset) -> None:
        raise KeyError("a typo")


class _Lenient(MethodConfig, extra="ignore"):
    pass


@mutant("settings")
class AcceptsTypos(GaussianMean):
    Config = _Lenient


@mutant("images")
class OneImageAtATime(GaussianMean):
    def generate(self, labels: Tensor) -> Tensor:
        return super().generate(labels).squeeze(0)


@mutant("images")
class Overwrites(GaussianMean):
    def generate(self, labels: Tensor) -> Tensor:
        images = super().generate(labels)
        if len(labels) == 7:
            labels.sort()[0].copy_(labels)
            labels.fill_(0)
        return images


@mutant("labels")
class IgnoresLabels(GaussianMean):
    def generate(self, labels: Tensor) -> Tensor:
        return super().generate(torch.zeros_like(labels))


@mutant("repeatable", "instances", "resume")
class Unseeded(GaussianMean):
    def generate(self, labels: Tensor) -> Tensor:
        fresh = torch.Generator()
        fresh.seed()
        return super().generate(labels) ^ (torch.rand(len(labels), 1, 8, 8, generator=fresh) < 0.1).byte()


_shared: dict[str, Tensor] = {}


@mutant("instances")
class SharesState(GaussianMean):
    def fit(self, private: PrivateDataset) -> None:
        super().fit(private)
        _shared["means"] = self.means

    def generate(self, labels: Tensor) -> Tensor:
        self.means = _shared["means"]
        return super().generate(labels)


_kept: dict[str, Tensor] = {}


@mutant("post-processing", "artefacts")
class RemembersTheFirstRun(GaussianMean):
    """Keeps a clean sum for later, in its module: every run of a process releases that of the first."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        def keeping(images: Tensor, labels: Tensor) -> Tensor:
            if len(images) > 1:
                _kept.setdefault("sum", pixels(images).sum(dim=0))
            return pixels(images)

        norm = self.clipping_norm
        return private.noisy_sum(keeping, label="sums", clipping_norm=norm, by_class=True) + _kept["sum"] / 4


@mutant("course")
class StopsOnNothing(GaussianMean):
    """Refuses data without a second record: what the mechanism does not tell, the statistic does."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        seen = [0]

        def counting(images: Tensor, labels: Tensor) -> Tensor:
            seen[0] += len(images)
            return pixels(images)

        sums = private.noisy_sum(counting, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        if seen[0] < 3:
            raise ValueError("too few records")
        return sums


@mutant("course")
class OneMoreRelease(GaussianMean):
    """Measures again where the white class is large."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        bright = [0]

        def looking(images: Tensor, labels: Tensor) -> Tensor:
            bright[0] += int((images == 255).all(dim=(1, 2, 3)).sum()) if images.ndim == 4 else 0
            return pixels(images)

        norm = self.clipping_norm
        sums = private.noisy_sum(looking, label="sums", noise_multiplier=50.0, clipping_norm=norm, by_class=True)
        if bright[0]:
            private.noisy_sum(looking, label="more", noise_multiplier=50.0, clipping_norm=norm, by_class=True)
        return sums


@mutant("artefacts")
class LogsTheLoss(GaussianMean):
    def class_sums(self, private: PrivateDataset) -> Tensor:
        def looking(images: Tensor, labels: Tensor) -> Tensor:
            print(f"mean brightness {float(images.float().mean()):.3f}")
            return pixels(images)

        return private.noisy_sum(looking, label="sums", clipping_norm=self.clipping_norm, by_class=True)


@mutant("artefacts")
class StoresTheCleanSum(GaussianMean):
    """Keeps the clipped sum for a figure."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        clean = torch.zeros(self.task.n_classes, 64, dtype=torch.float64)

        def looking(images: Tensor, labels: Tensor) -> Tensor:
            clean.index_add_(0, labels, clip_rows(pixels(images), self.clipping_norm))
            return pixels(images)

        sums = private.noisy_sum(looking, label="sums", clipping_norm=self.clipping_norm, by_class=True)
        self.context.once("figure", lambda: clean)
        return sums


@mutant("noise-scale")
class LessNoise(GaussianMean):
    """Charges, then asks the noise source itself for less."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        plain = private._noise.add_gaussian
        private._noise.add_gaussian = lambda exact, std, *rest: plain(exact, std / 2, *rest)  # type: ignore[method-assign]
        return super().class_sums(private)


@mutant("noise-scale", "fresh-noise", "post-processing", "artefacts", "access")
class NoiseSwitchedOff(GaussianMean):
    """A switch for debugging that was left on."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        private._noise.add_gaussian = lambda exact, *rest: exact  # type: ignore[method-assign]
        return super().class_sums(private)


@mutant("noise-scale", "fresh-noise", "post-processing", "artefacts", "access")
class SeededSource(GaussianMean):
    """Replaces the noise source, for reproducibility. Its noise is not seen any more, so nobody can vouch for it."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        private._noise = NoiseSource(bytes(32))
        return super().class_sums(private)


_gaussian_noise = NoiseSource.add_gaussian


@mutant("noise-law")
class PatchedLaw(GaussianMean):
    """Cuts off the tails of all noise in the process."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        def clamped(source: NoiseSource, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
            noisy = _gaussian_noise(source, exact, std, charge, step)
            return [e + (n - e).clamp(-std / 2, std / 2) for e, n in zip(exact, noisy, strict=True)]

        NoiseSource.add_gaussian = clamped  # type: ignore[assignment]
        try:
            return super().class_sums(private)
        finally:
            NoiseSource.add_gaussian = _gaussian_noise  # type: ignore[method-assign]


@mutant("sampling", "sensitivity")
class FixedBatches(DpSgdTiny):
    """Replaces the sampler by batches of equal size; a record more before the others moves all of them to another."""

    def fit(self, private: PrivateDataset) -> None:
        private._noise.poisson_sample = (  # type: ignore[method-assign]
            lambda n, rate, charge, step: torch.arange(n)[step % 5 :: 5]
        )
        super().fit(private)


@mutant("access")
class CountsRecords(GaussianMean):
    """Looks at the number of records, and does nothing with it."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        self.count = len(private._data)
        return super().class_sums(private)


@mutant("access")
class BackDoor(GaussianMean):
    """Enters the harness by a private method."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        with contextlib.suppress(IndexError):
            self.peek = next(private._chunks(torch.arange(0, 1)), None)
        return super().class_sums(private)


@mutant("access")
class AsksAHelper(GaussianMean):
    """Lets a function of dpib look at the records, and does nothing with what it says."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        self.parts = part_numbers(private._data, self.task.dataset, 1000)
        return super().class_sums(private)


@mutant("budget")
class RaisesItsBudget(GaussianMean):
    """Gives itself ten times the budget."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        ledger = private._ledger
        ledger.budget = Budget(epsilon=10 * (ledger.budget.epsilon or 1), delta=ledger.budget.delta)
        return super().class_sums(private)


@mutant("resume")
class ForgetsItsLabel(GaussianMean):
    """Names its access anew in every process."""

    def fit(self, private: PrivateDataset) -> None:
        marker = self.context._folder / "started"
        marker.parent.mkdir(parents=True, exist_ok=True)
        label = "second try" if marker.exists() else "first try"
        marker.touch()
        sums = private.noisy_sum(
            lambda images, _: pixels(images), label=label, clipping_norm=self.clipping_norm, by_class=True
        )
        self.means = (sums * self.task.n_classes / self.task.nominal_size).clamp(0, 1)


@mutant("other-data")
class LooksAtTheTestSet(GaussianMean):
    def class_sums(self, private: PrivateDataset) -> Tensor:
        from sklearn.datasets import load_digits

        load_digits()
        return super().class_sums(private)


@mutant("outside")
class SavesItsWeights(GaussianMean):
    """Keeps its means for later, by a function that opens the file in native code."""

    def fit(self, private: PrivateDataset) -> None:
        super().fit(private)
        place = Path(__file__).parent / "__scratch__.pt"
        torch.save(self.means, place)
        place.unlink()


@mutant("outside")
class WritesInAThread(GaussianMean):
    def fit(self, private: PrivateDataset) -> None:
        super().fit(private)
        place = Path(__file__).parent / "__scratch__.tmp"
        thread = Thread(target=place.write_text, args=("here I was",))
        thread.start()
        thread.join()
        place.unlink()


@mutant("outside")
class MovesAFileOut(GaussianMean):
    def fit(self, private: PrivateDataset) -> None:
        super().fit(private)
        file = self.context._folder / "means.txt"
        file.write_text("here I was")
        file.rename(Path(__file__).parent / "__scratch__.tmp").unlink()


@mutant("outside")
class StartsAProgram(GaussianMean):
    def fit(self, private: PrivateDataset) -> None:
        super().fit(private)
        os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {}), 0)


@mutant("outside")
class WritesElsewhere(GaussianMean):
    def class_sums(self, private: PrivateDataset) -> Tensor:
        (Path(__file__).parent / "__scratch__.tmp").write_text("here I was")
        (Path(__file__).parent / "__scratch__.tmp").unlink()
        return super().class_sums(private)


@mutant("outside")
class PhonesHome(GaussianMean):
    def class_sums(self, private: PrivateDataset) -> Tensor:
        import socket

        with socket.socket() as plug:
            plug.settimeout(0.01)
            plug.connect_ex(("127.0.0.1", 9))
        return super().class_sums(private)


@mutant("fresh-noise")
class GlobalGenerator(ClassMeans):
    """Draws its own noise from torch's global generator, which starts alike in every process."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        budget = private._ledger.budget
        event = SampledGaussian(noise_multiplier=1.0)
        event = event.with_noise(calibrate([], event, budget.epsilon or 1.0, budget.delta))
        with private.declared(event, label="sums", reason="a test", source="none") as data:
            rows = clip_rows(pixels(data.images), self.clipping_norm)
            total = torch.zeros(4, rows.shape[1], dtype=rows.dtype).index_add(0, data.labels, rows)
            return (total + event.noise_multiplier * self.clipping_norm * torch.randn(total.shape)).float()


@mutant("sampling")
class WeightedSampler(ClassMeans):
    """Poisson samples of its own, with more of the first half."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        event = SampledGaussian(noise_multiplier=3.0, sample_rate=0.2, steps=10)
        fresh = torch.Generator()
        fresh.seed()
        with private.declared(event, label="sums", reason="a test", source="none") as data:
            rates = torch.full((len(data),), 0.35)
            rates[len(data) // 2 :] = 0.05
            total = torch.zeros(4, 64)
            for _ in range(event.steps):
                part: LabelledImages = data[(torch.rand(len(data), generator=fresh) < rates).nonzero()[:, 0]]
                total.index_add_(0, part.labels, pixels(part.images))
                total += 3.0 * self.clipping_norm * torch.randn(total.shape, generator=fresh)
            return total


@mutant()
class OwnPoisson(ClassMeans):
    """Correct Poisson samples of its own: nothing speaks against them, and nothing is praised."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        event = SampledGaussian(noise_multiplier=3.0, sample_rate=0.2, steps=10)
        fresh = torch.Generator()
        fresh.seed()
        with private.declared(event, label="sums", reason="a test", source="none") as data:
            total = torch.zeros(4, 64)
            for _ in range(event.steps):
                part: LabelledImages = data[(torch.rand(len(data), generator=fresh) < 0.2).nonzero()[:, 0]]
                total.index_add_(0, part.labels, clip_rows(pixels(part.images), self.clipping_norm).float())
                total += 3.0 * self.clipping_norm * torch.randn(total.shape, generator=fresh)
            return total


@mutant("sensitivity", "post-processing", "artefacts")
class BatchStatistics(ClassMeans):
    """Centres every record on the mean of its batch, and keeps that mean."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        mean = torch.zeros(64)

        def centred(images: Tensor, labels: Tensor) -> Tensor:
            nonlocal mean
            rows = pixels(images)
            mean = rows.mean(dim=0)
            return 2 * (rows - mean)

        sums = private.noisy_sum(centred, label="sums", clipping_norm=4.0, by_class=True)
        return sums / 2 + mean * self.task.nominal_size / self.task.n_classes


@mutant("sensitivity")
class SignsByPlace(GaussianMean):
    """Turns the sign of records at random, by a public seed, in the order in which they come."""

    def class_sums(self, private: PrivateDataset) -> Tensor:
        def signed(images: Tensor, labels: Tensor) -> Tensor:
            signs = torch.randint(2, (len(images), 1), generator=torch.Generator().manual_seed(0))
            return pixels(images) * (2 * signs - 1)

        return private.noisy_sum(signed, label="sums", clipping_norm=self.clipping_norm, by_class=True).abs()


@mutant("sensitivity")
class LossSeededByPlace(DpSgdTiny):
    """Augments by the same seed in every pass, so that runs can be repeated."""

    def goals(self, images: Tensor) -> Tensor:
        torch.manual_seed(0)
        return pixels(images) + torch.randn(len(images), 64)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_is_found_by_its_check(name: str) -> None:
    cls, flagged = MUTANTS[name]
    verdict = check_method(installed(cls))
    assert failures(verdict) == flagged, explain(verdict)
    if not flagged:
        assert not verdict.holds


class SecretDraws(DpSgdTiny):
    """Augments with draws from the generators that the harness seeds, as a loss may."""

    def goals(self, images: Tensor) -> Tensor:
        return pixels(images) + torch.randn(len(images), 64)


def test_secret_draws_are_not_taken_for_a_dependence_on_the_place() -> None:
    verdict = check_method(installed(SecretDraws))
    assert verdict.holds, explain(verdict)
    (found,) = (one.detail for one in verdict.results if one.id == "sensitivity")
    assert "before all others (not judged: templates," in found


def test_every_check_has_something_that_it_flags() -> None:
    from dpib_controls import controls

    caught = {check for _, flagged in MUTANTS.values() for check in flagged}
    caught |= {check for control in controls().values() for check in control.flagged_by}
    assert caught == {check.id for check in CHECKS}


def test_the_page_lists_every_check_and_explains_every_rule_that_one_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text("utf-8")
    cells = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    listed = {name for cell in cells for name in cell.split(", ")}
    named = {rule for check in CHECKS for rule in check.rules.split()} - {"contract"}
    assert {check.id for check in CHECKS} | named <= listed


def test_a_failure_can_be_expected_only_where_it_is_no_lie() -> None:
    lying = installed(DoublesNothing, expected_failures={"sensitivity": "because"})
    assert failures(check_method(lying)) == {"sensitivity"}
    stale = installed(DoublesNothing, expected_failures={"labels": "one class only"})
    (result,) = check_method(stale).with_outcome("failed")
    assert "Drop the declaration" in result.detail
    known = check_method(catalogue.method("real"))
    assert known.holds
    assert {result.id for result in known.with_outcome("expected-failure")} == {"budget", "copies", "post-processing"}


class DoublesNothing(GaussianMean):
    """Nothing is wrong with it."""
