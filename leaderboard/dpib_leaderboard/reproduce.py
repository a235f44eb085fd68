"""Trust level 2: run a submission's code again, in isolation, with seeds that its author could not know."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from dpib import catalogue
from dpib.agreement import MIN_REPRODUCTIONS, is_reproduced, reproduction_tolerance
from dpib.errors import ConfigError, DpibError, IsolationError, RunError
from dpib.isolation.limited import Limits
from dpib.records import RunRecord, Score
from dpib.spec import RunSpec
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import printable
from dpib_leaderboard.rescore import Rescored, rescore
from dpib_leaderboard.reviews import REPRODUCED, Check, Reproduction, Review, failed

HEADLINE = ("accuracy", "noisy-senv")
DEFAULT_SEEDS = 5
"""Three would do, with a wider interval: Student's quantile is 9.9 for three runs and 4.6 for five."""

_SEED_BOUND = 1 << 31


def reproduced(
    review: Review,
    record: RunRecord,
    *,
    code: Path | None = None,
    seeds: int = DEFAULT_SEEDS,
    data_dir: Path | None = None,
    allowed: Limits | None = None,
    unconfined: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Review:
    """Return the review with what new runs showed: level 2 if they agree, refused if they do not.

    Args:
        review: an accepted review with recomputed scores.
        record: the record it is of.
        code: the plugin's file or folder; None: a method that comes with dpib. Nothing of it is imported here.
        seeds: how many new runs.
        data_dir: folder of data mirrors.
        allowed: limits of each process.
        unconfined: run even where network and files cannot be closed; that is not worth level 2.
        note: told what is going on.

    Raises:
        ConfigError: too few seeds, or there is nothing to compare with.
        IsolationError: this machine cannot confine the code.
    """
    submitted = _headline(review.scores)
    if seeds < MIN_REPRODUCTIONS:
        raise ConfigError(f"A reproduction takes at least {MIN_REPRODUCTIONS} seeds, got {seeds}.")
    if not review.accepted or review.trust_level < 1 or submitted is None:
        raise ConfigError("Only an accepted submission with recomputed scores can be reproduced.")
    try:
        found = _reproduce(record, submitted, code, seeds, data_dir, allowed or _limits(), unconfined, note)
    except IsolationError:
        raise
    except DpibError as error:
        return _with(review, None, Check(name=REPRODUCED, holds=False, detail=printable(str(error))))
    detail = (
        f"{found.submitted:.2f} submitted, {fmean(found.values):.2f} ± {found.tolerance:.2f} in {seeds} new runs, "
        f"network {found.protections.network}, files {found.protections.files}"
    )
    return _with(review, found, Check(name=REPRODUCED, holds=found.agrees, detail=detail))


def _with(review: Review, found: Reproduction | None, check: Check) -> Review:
    checks = (*review.checks, check)
    level = 0 if failed(checks) else 2 if found is not None and found.counts else review.trust_level
    update = {"checks": checks, "accepted": not failed(checks), "trust_level": level, "reproduction": found}
    return review.model_copy(update=update)


def _limits() -> Limits:
    return Limits(memory=limits.CHILD_MEMORY, seconds=limits.CHILD_SECONDS, disk=limits.CHILD_DISK)


def _headline(scores: tuple[Score, ...]) -> float | None:
    found = [s.value for s in scores if (s.metric, s.protocol, s.classifier) == (*HEADLINE, None)]
    return found[0] if found else None


def _reproduce(
    record: RunRecord,
    submitted: float,
    code: Path | None,
    seeds: int,
    data_dir: Path | None,
    allowed: Limits,
    unconfined: bool,
    note: Callable[[str], None],
) -> Reproduction:
    from dpib.data.load import load_public, load_splits
    from dpib.isolation.produce import produce_isolated

    first = record.task.spec
    track, card = catalogue.track(first.track), catalogue.dataset(first.dataset)
    train = load_splits(card, data_dir).train
    public = load_public(catalogue.dataset(first.public_dataset), data_dir).data if first.public_dataset else None
    values: list[float] = []
    spent: list[float] = []
    used: list[int] = []
    protections, test_images = None, 0
    with tempfile.TemporaryDirectory(prefix="dpib-reproduce-") as scratch:
        for number in range(seeds):
            spec = _reseeded(first, {first.seed, *used})
            note(f"run {number + 1} of {seeds}: {spec.method}, {spec.dataset}, seed {spec.seed}")
            images = Path(scratch) / f"{number}.parquet"
            produced = produce_isolated(
                spec,
                track,
                card,
                train,
                images,
                code=code,
                digest=record.method.source_digest,
                public=public,
                limits=allowed,
                images_bytes=limits.images_bytes(track.n_images, card.shape),
                unconfined=unconfined,
            )
            answer = rescore(spec, produced.ledger, images, data_dir, allowed)
            values.append(_accuracy(answer))
            spent.append(answer.spent_epsilon)
            used.append(spec.seed)
            protections, test_images = produced.protections, answer.test_images
    assert protections is not None
    tolerance = reproduction_tolerance(values, test_images)
    return Reproduction(
        method_digest=record.method.source_digest,
        seeds=tuple(used),
        values=tuple(values),
        spent_epsilon=tuple(spent),
        submitted=submitted,
        tolerance=tolerance,
        agrees=is_reproduced(submitted, values, tolerance),
        protections=protections,
    )


def _reseeded(spec: RunSpec, used: set[int]) -> RunSpec:
    seed = next(s for s in iter(lambda: secrets.randbelow(_SEED_BOUND), None) if s not in used)
    return spec.model_copy(update={"seed": seed})


def _accuracy(answer: Rescored) -> float:
    wrong = [check for check in answer.checks if check.holds is False]
    if wrong:
        raise RunError(f"A new run fails the copy test: {wrong[0].name}, {wrong[0].detail}")
    value = _headline(answer.scores)
    if value is None:
        raise RunError("A new run has no accuracy.")
    return value
