"""What public runs of a method lead one to expect: utility and time at the nearest size and ε."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpib import catalogue
from dpib.files import SUBMISSIONS
from dpib.machine import usual_hardware
from dpib.owner.request import OwnerJob
from dpib.query import find_records
from dpib.records import PROTOCOLS, RunRecord
from dpib.spec import RunSpec

CAVEAT = (
    "Public runs on other images: a rough guide only. Fewer images, more classes or finer detail than theirs mean "
    "less utility at the same ε."
)
_REFERENCES = {"ceiling": "real", "trivial": "dp-means"}


@dataclass(frozen=True)
class Expectation:
    """One group of public runs that differ in their seeds only.

    Attributes:
        accuracy: mean test accuracy in % of classifiers trained on the synthetic images (Noisy SenV).
        ceiling: the same for real images; None if no record has it.
        trivial: the same for noisy class means at this ε.
        minutes: to fit and generate, mean of the runs on ``hardware``.
        hardware: that most of them ran on.
    """

    dataset: str
    nominal_size: int
    epsilon: float
    runs: int
    accuracy: float
    ceiling: float | None
    trivial: float | None
    minutes: float
    hardware: str


def _accuracy(record: RunRecord) -> float | None:
    score = record.score("accuracy", PROTOCOLS[0])
    return None if score is None else score.value


def _configuration(spec: RunSpec) -> tuple[object, ...]:
    return spec.public, spec.pretrain, spec.preludes, spec.variant


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _making_seconds(record: RunRecord) -> float:
    """Return the seconds of all stages but loading and evaluation."""
    track = catalogue.track(record.task.spec.track)
    evaluation = {"load data", *(f"train {classifier.name}" for classifier in track.classifiers)}
    return math.fsum(
        seconds
        for stage, seconds in record.cost.seconds.items()
        if stage not in evaluation and not stage.startswith("features of")
    )


def expectations(job: OwnerJob, store: Path = SUBMISSIONS, limit: int = 3) -> tuple[Expectation, ...]:
    """Return what is known about runs like this one, the nearest first: by nominal size, then by ε.

    Args:
        job: what is asked for.
        store: folder of records.
        limit: how many groups to return.
    """
    spec, size = job.settings.spec, job.request.nominal_size
    records = [record for _, record in find_records(store) if record.task.spec.track == spec.track]

    def of(method: str, dataset: str, epsilon: float) -> list[RunRecord]:
        wanted = (method, dataset, epsilon, False)
        return [
            r
            for r in records
            if (r.method.name, r.task.spec.dataset, r.task.spec.epsilon, r.method.tuned) == wanted
            and (method != spec.method or _configuration(r.task.spec) == _configuration(spec))
        ]

    found = []
    cells = {(r.task.spec.dataset, r.task.nominal_size, r.task.spec.epsilon) for r in records}
    for dataset, n, epsilon in cells:
        group = of(spec.method, dataset, epsilon)
        accuracy = _mean(_accuracy(record) for record in group)
        if accuracy is None:
            continue
        hardware = usual_hardware(record.cost.hardware for record in group)
        timed = [record for record in group if record.cost.hardware == hardware]
        references = {
            role: _mean(_accuracy(record) for record in of(method, dataset, epsilon))
            for role, method in _REFERENCES.items()
        }
        found.append(
            Expectation(
                dataset=dataset,
                nominal_size=n,
                epsilon=epsilon,
                runs=len(group),
                accuracy=accuracy,
                minutes=statistics.mean(_making_seconds(record) for record in timed) / 60,
                hardware=hardware,
                **references,
            )
        )
    found.sort(key=lambda e: (abs(math.log(e.nominal_size / size)), abs(math.log(e.epsilon / spec.epsilon)), e.dataset))
    return tuple(found[:limit])
