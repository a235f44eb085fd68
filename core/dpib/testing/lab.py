"""Runs a method again and again on tiny data, with every sensor on, and shares the runs among the checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dpib.catalogue import InstalledMethod
from dpib.data.images import LabelledImages
from dpib.errors import RecordError
from dpib.privacy.events import NonPrivate, SampledGaussian
from dpib.privacy.ledger import Charge, parse_charges, read_ledger_lines
from dpib.progress import Reporter, RunEvent
from dpib.testing.afresh import imported_anew, torch_at_start
from dpib.testing.replay import Key, RecordingNoise, Release
from dpib.testing.tiny import BASE_SIZES, TASK, TinyRun, run_tiny, tiny_images
from dpib.testing.watch import Read, Surroundings, captured_output, surroundings, watched
from dpib.verdicts import Profile

__all__ = ["EPSILON", "Interrupted", "Lab", "Recorder", "Trial"]

EPSILON = 1.0
"""Budget of the runs: small enough that pricing Poisson-sampled noise takes seconds."""

SECRET, OTHER_SECRET = bytes(range(32)), bytes(range(32, 64))


class Interrupted(BaseException):
    """The process was killed; no method may catch it."""


class Recorder(RecordingNoise):
    """Notes releases, in what order records are read between them, and who draws from the secret.

    Args:
        fail: raised instead of the noise of release number ``fail_at``.
    """

    def __init__(
        self,
        secret: bytes = SECRET,
        answers: Mapping[Key, Release] | None = None,
        *,
        include: int | None = None,
        fail: BaseException | None = None,
        fail_at: int = 0,
    ) -> None:
        super().__init__(secret, answers, include)
        self._fail, self._fail_at = fail, fail_at
        self.marks: list[Read | Key] = []
        self.drawing: set[str] = set()
        """Charges whose loss or statistic drew from the generators that the secret seeds."""

    @contextmanager
    def secret_torch(self, purpose: str, charge: str, step: int, part: int = 0) -> Iterator[None]:
        """Seed, and note whether something was drawn; whoever seeds anew draws from something else."""
        with super().secret_torch(purpose, charge, step, part):
            seed, before = torch.initial_seed(), torch.random.get_rng_state()
            yield
            if torch.initial_seed() == seed and not torch.equal(torch.random.get_rng_state(), before):
                self.drawing.add(charge)

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Answer, or fail."""
        self._release(charge, step)
        return super().add_gaussian(exact, std, charge, step)

    def add_exponential(self, exact: Tensor, scale: float, charge: str) -> Tensor:
        """Answer, or fail."""
        self._release(charge, 0)
        return super().add_exponential(exact, scale, charge)

    def _release(self, charge: str, step: int) -> None:
        if self._fail is not None and len(self.releases) == self._fail_at:
            raise self._fail
        self.marks.append((charge, step))


@dataclass(frozen=True)
class Trial:
    """One run and everything that was seen of it.

    Attributes:
        data: the records.
        run: None if it ended with an error.
        error: what it ended with.
        noise: the recorder.
        charges: as they stand in the ledger file.
        executed: steps done, by charge id.
        files: content of every file the run left, the noisy ledger included, by path.
        output: printed and logged.
        events: progress, without times.
        around: what was opened outside the run's folder.
    """

    data: LabelledImages
    run: TinyRun | None
    error: BaseException | None
    noise: Recorder
    charges: tuple[Charge, ...]
    executed: Mapping[str, int]
    files: Mapping[str, bytes]
    output: str
    events: tuple[RunEvent, ...]
    around: Surroundings

    @property
    def images(self) -> Tensor:
        """The released images."""
        assert self.run is not None
        return self.run.released.images

    @property
    def reads(self) -> list[Read]:
        """Accesses to the records, in order."""
        return [mark for mark in self.noise.marks if isinstance(mark, Read)]


@dataclass(frozen=True)
class Pair:
    """Two replays on records that differ in one.

    Attributes:
        name: what the records are.
        without: the replay without that record.
        with_one: the replay with it.
        first: whether it stands before all others, which thereby have other places; else after them.
    """

    name: str
    without: Trial
    with_one: Trial
    first: bool


class Lab:
    """The runs of one method, made when first needed.

    Args:
        method: what is checked.
        profile: ``quick`` or ``full``: how many neighbours, crashes and failures.
        scratch: an empty folder.
    """

    def __init__(self, method: InstalledMethod, profile: Profile, scratch: Path) -> None:
        self.method, self.profile, self._scratch = method, profile, scratch
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether time does not matter."""
        return self.profile == "full"

    def folder(self) -> Path:
        """Return a new folder for a run. Its name has a fixed length, so that file contents can be compared."""
        self._count += 1
        return self._scratch / f"{self._count:06d}" / "run"

    def trial(
        self,
        data: LabelledImages,
        noise: Recorder,
        *,
        folder: Path | None = None,
        epsilon: float = EPSILON,
        interrupt_at: int | None = None,
    ) -> Trial:
        """Run the method.

        Args:
            data: the records.
            noise: source of all noise.
            folder: continue what was interrupted there.
            epsilon: budget.
            interrupt_at: kill the run at this progress event.
        """
        folder = folder or self.folder()
        folder.mkdir(parents=True, exist_ok=True)
        events: list[RunEvent] = []

        def observe(event: RunEvent) -> None:
            events.append(RunEvent(event.kind, event.stage, event.done, event.total, 0.0, event.message))
            if len(events) - 1 == interrupt_at:
                raise Interrupted

        seen = watched(data, noise.marks.append, lambda: _handed_out(folder / "ledger.jsonl"))
        run, error = None, None
        with torch_at_start(), surroundings(folder) as around, captured_output() as output:
            try:
                run = run_tiny(
                    self.method, seen, epsilon=epsilon, noise=noise, folder=folder, reporter=Reporter(observe)
                )
            except (Exception, Interrupted, SystemExit) as problem:  # noqa: BLE001  a method may raise anything
                error = problem
        charges, executed = _ledger(folder / "ledger.jsonl")
        text = output.getvalue().replace(str(folder), "<run>")
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return Trial(data, run, error, noise, charges, executed, files, text, tuple(events), around)

    @cached_property
    def first(self) -> Trial:
        """A run on the base set. Its answers are those of every ``replay``."""
        return self.trial(tiny_images(), Recorder())

    @cached_property
    def repeated(self) -> Trial:
        """The same once more: same data, seed and noise."""
        return self.trial(tiny_images(), Recorder())

    @cached_property
    def renewed(self) -> Trial:
        """The same with fresh noise."""
        return self.trial(tiny_images(), Recorder(OTHER_SECRET))

    def replay(self, data: LabelledImages, include: int | None = None) -> Trial:
        """Run on other records, answered as ``first`` was: whatever differs now, noise did not hide."""
        return self.trial(data, Recorder(answers=self.first.noise.by_key, include=include))

    @cached_property
    def neighbours(self) -> list[Pair]:
        """Pairs of replays whose records differ in the last one, and some in which they differ in the first."""
        pairs = []
        for name, base, additions in _bases(self.full):
            without = self.first if name == "classes" else self.replay(base)
            for what, image, label in additions:
                with_one = self.replay(_inserted(base, len(base), image, label), include=len(base))
                pairs.append(Pair(f"{name} and {what}", without, with_one, first=False))
            for what, image, label in additions[: _FIRST[self.profile]] if len(base) > 1 else []:
                with_one = self.replay(_inserted(base, 0, image, label), include=0)
                pairs.append(Pair(f"{name} and, first, {what}", without, with_one, first=True))
        return pairs

    @cached_property
    def elsewhere(self) -> list[tuple[str, Trial]]:
        """Replays on records that have nothing in common with those of ``first``, nor with what it left in modules."""
        other = tiny_images((10, 40, 5, 30), seed=7)
        inverted = LabelledImages(255 - tiny_images().images, tiny_images().labels.flip(0))
        datasets = [("other records", other), ("inverted records", inverted)][: None if self.full else 1]
        found = []
        for name, data in datasets:
            with imported_anew(self.method.method.implementation):
                found.append((f"{name}, with its modules imported anew", self.replay(data)))
        return found

    @cached_property
    def replays(self) -> list[tuple[str, Trial]]:
        """Every replay there is, each once."""
        found = {id(self.first): ("", self.first)}
        for pair in self.neighbours:
            found.setdefault(id(pair.without), (pair.name.partition(" and ")[0], pair.without))
            found[id(pair.with_one)] = (pair.name, pair.with_one)
        found.update({id(trial): (name, trial) for name, trial in self.elsewhere})
        return [pair for pair in found.values() if pair[1] is not self.first]

    @cached_property
    def random_records(self) -> Trial:
        """A run on records that nobody can guess, with fresh noise."""
        generator = torch.Generator().manual_seed(99)
        images = torch.randint(0, 256, (sum(BASE_SIZES), *TASK.shape), dtype=torch.uint8, generator=generator)
        return self.trial(LabelledImages(images, tiny_images().labels), Recorder(OTHER_SECRET))

    @property
    def declared(self) -> list[Charge]:
        """Charges whose noise is the author's."""
        return [charge for charge in self.first.charges if charge.assurance == "declared"]

    @property
    def mechanisms(self) -> list[Charge]:
        """Charges whose noise is the harness's."""
        return [charge for charge in self.first.charges if charge.assurance == "mechanism"]

    @property
    def unprotected(self) -> list[Charge]:
        """Charges without noise."""
        return [charge for charge in self.first.charges if isinstance(charge.event, NonPrivate)]

    def sampled(self, charges: Sequence[Charge]) -> list[Charge]:
        """Return the charges that claim amplification by Poisson samples."""
        return [c for c in charges if isinstance(c.event, SampledGaussian) and c.event.sample_rate < 1]


def _ledger(path: Path) -> tuple[tuple[Charge, ...], Mapping[str, int]]:
    if not path.exists():
        return (), {}
    charges, executed = parse_charges(read_ledger_lines(path))
    return tuple(charges), executed


def _handed_out(path: Path) -> bool:
    try:
        charges, executed = _ledger(path)
    except RecordError:
        return False
    return any(
        charge.assurance == "non-private" or (charge.assurance == "declared" and charge.id not in executed)
        for charge in charges
    )


Additions = list[tuple[str, Tensor, Tensor]]
_FIRST: Mapping[Profile, int] = {"quick": 1, "full": 5}
"""How many of the additions to a set are also put before all its records."""


def _bases(full: bool) -> Iterator[tuple[str, LabelledImages, Additions]]:
    """Yield name, records and what is added to them, one at a time. The base set's last class is empty."""
    base, empty_class = tiny_images(), torch.tensor(TASK.n_classes - 1)
    rows, columns = torch.meshgrid(torch.arange(TASK.shape[1]), torch.arange(TASK.shape[2]), indexing="ij")
    board = (((rows + columns) % 2) * 255).to(torch.uint8).expand(TASK.shape)
    white, black = torch.full(TASK.shape, 255, dtype=torch.uint8), torch.zeros(TASK.shape, dtype=torch.uint8)
    zero = torch.tensor(0)
    extremes: Additions = [
        ("a chequered record of an empty class", board, empty_class),
        ("a white record", white, zero),
        ("a black record", black, zero),
        ("a duplicate", base.images[0], base.labels[0]),
        ("an inverted record", 255 - base.images[0], base.labels[0]),
    ]
    generator = torch.Generator().manual_seed(4)
    drawn: Additions = [
        (
            f"random record {number}",
            torch.randint(0, 256, TASK.shape, dtype=torch.uint8, generator=generator),
            torch.randint(TASK.n_classes, (), generator=generator),
        )
        for number in range(35 if full else 0)
    ]
    none = LabelledImages(base.images[:0], base.labels[:0])
    copies = LabelledImages(white.expand(20, *TASK.shape), torch.zeros(20, dtype=torch.int64))
    yield "classes", base, extremes + drawn
    yield "no record", none, (extremes if full else extremes[:1]) + drawn
    yield "a single record", base[:1], (extremes if full else extremes[4:]) + drawn
    yield "twenty duplicates", copies, (extremes if full else [("one more", white, zero)]) + drawn
    if full:
        yield "few records", tiny_images((5, 5, 5, 5), seed=3), extremes + drawn


def _inserted(base: LabelledImages, place: int, image: Tensor, label: Tensor) -> LabelledImages:
    """Return the records with one more before number ``place``."""
    images = torch.cat([base.images[:place], image[None], base.images[place:]])
    return LabelledImages(images, torch.cat([base.labels[:place], label[None], base.labels[place:]]))


def digest_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return SHA-256 by path."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def course(trial: Trial) -> str:
    """Return everything about a run that must not depend on the records: charges, steps, releases, progress."""
    releases = [
        (
            release.kind,
            release.charge,
            release.step,
            release.scale,
            [(tuple(p.shape), str(p.dtype)) for p in release.exact],
        )
        for release in trial.noise.releases
    ]
    charges = [charge.model_dump(mode="json") for charge in trial.charges]
    return json.dumps([charges, dict(trial.executed), releases, [str(event) for event in trial.events]])
