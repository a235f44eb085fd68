"""The account: what the ledger says, who reads records, and what becomes of it when a run is killed or noise fails."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from dpib.errors import BudgetExceeded, RunError
from dpib.privacy.accountants import epsilon
from dpib.privacy.events import Gaussian
from dpib.spec import delta_for
from dpib.testing.checks.base import Check, Finding, describe, failed, not_applicable, passed, undecided
from dpib.testing.lab import EPSILON, Interrupted, Lab, Recorder, Trial
from dpib.testing.tiny import TASK
from dpib.testing.watch import Read


def _budget(lab: Lab) -> Finding:
    delta = delta_for(TASK.nominal_size)
    charges = lab.first.charges
    spent = epsilon([charge.event for charge in charges], delta, "pld")
    if not math.isfinite(spent):
        return failed("the ledger has unprotected access: ε is infinite")
    if spent > EPSILON * (1 + 1e-3):
        return failed(f"the ledger comes to ε = {spent:.4g} by PLD; {EPSILON:g} was asked for")
    if not charges:
        return passed("the ledger is empty: ε = 0")
    found = f"{len(charges)} charges come to ε = {spent:.4g} of {EPSILON:g} by PLD, δ = {delta:.3g}"
    if lab.sampled(charges) and not lab.full:
        return passed(f"{found}; another ε is tried in the full profile")
    more = lab.trial(lab.first.data, Recorder(), epsilon=2 * EPSILON)
    if more.error is not None:
        return failed(f"at ε = {2 * EPSILON:g} the run ended with {describe(more.error)}")
    for ours, theirs in zip(charges, more.charges, strict=False):
        pair = (ours.event, theirs.event)
        noise = [event.noise_multiplier for event in pair if isinstance(event, Gaussian)]
        if len(noise) == 2 and noise[1] > noise[0]:
            return failed(f"'{ours.label}' has less noise at ε = {EPSILON:g} than at {2 * EPSILON:g}")
    return passed(f"{found}; not less noise than at {2 * EPSILON:g}")


def _access(lab: Lab) -> Finding:
    trials = [lab.first, *(trial for _, trial in lab.replays)]
    for trial in trials:
        strays = [read for read in trial.reads if not read.permitted]
        if strays:
            stray = strays[0]
            return failed(f"{stray.reader} ({stray.place}) reads the {stray.what} of the private records itself")
        unpaid = _unpaid(trial)
        if unpaid is not None:
            return failed(f"{unpaid.place}: records were read beyond what was released")
    if not any(read.what == "images" for read in lab.first.reads):
        return passed("no record is ever read")
    handed = [charge.label for charge in (*lab.declared, *lab.unprotected)]
    what = f"; '{', '.join(handed)}' hands them out, as charged" if handed else ""
    return passed(f"{len(lab.first.reads)} reads, all by mechanisms or as charged{what}")


def _unpaid(trial: Trial) -> Read | None:
    """Return a read of images that no release and no open charge accounts for."""
    handed_out = any(charge.assurance != "mechanism" for charge in trial.charges)
    pending: Read | None = None
    for mark in trial.noise.marks:
        if not isinstance(mark, Read):
            pending = None
        elif mark.what == "images":
            pending = mark
    return None if handed_out else pending


def _resume(lab: Lab) -> Finding:
    points = _points(lab)
    if not points:
        return not_applicable("the method has no release and no step at which it could be interrupted")
    for what, noise, event in points:
        folder = lab.folder()
        killed = lab.trial(lab.first.data, noise, folder=folder, interrupt_at=event)
        if not isinstance(killed.error, Interrupted):
            return failed(f"killed {what}, the run went on or ended with {describe(killed.error or RunError('none'))}")
        resumed = lab.trial(lab.first.data, Recorder(), folder=folder)
        if isinstance(resumed.error, BudgetExceeded) and lab.declared:
            return undecided(f"killed {what}: declared access is charged again, and the budget does not allow it")
        if resumed.error is not None:
            return failed(f"killed {what}, it does not continue: {describe(resumed.error)}")
        if lab.declared:
            continue
        if resumed.charges != lab.first.charges or resumed.executed != lab.first.executed:
            return failed(f"killed {what}, it continues with another ledger")
        if not torch.equal(resumed.images, lab.first.images):
            return failed(f"killed {what}, it ends with other images than an uninterrupted run")
    return passed(f"killed at {len(points)} points, it ends with the same images and ledger")


def _points(lab: Lab) -> list[tuple[str, Recorder, int | None]]:
    releases, events = len(lab.first.noise.releases), len(lab.first.events)
    wanted = 8 if lab.full else 3
    points: list[tuple[str, Recorder, int | None]] = []
    for number in sorted({0, releases - 1} if lab.full else {0})[: releases or 0]:
        points.append((f"in release {number}", Recorder(fail=Interrupted(), fail_at=number), None))
    rest = wanted - len(points)
    for part in range(rest):
        if events:
            number = (part + 1) * (events - 1) // rest
            points.append((f"at progress event {number} of {events}", Recorder(), number))
    return points


def _failures(lab: Lab) -> Finding:
    n = len(lab.first.noise.releases)
    if not n:
        return not_applicable("nothing is released through the harness's noise")
    kinds: list[Exception] = [RunError("the noise failed"), RuntimeError("CUDA error: an illegal access (made up)")]
    if lab.full:
        kinds += [torch.linalg.LinAlgError("not positive definite (made up)"), MemoryError(), ValueError("made up")]
    tried = 0
    for number in sorted({0, n - 1}):
        for error in kinds:
            trial = lab.trial(lab.first.data, Recorder(fail=error, fail_at=number))
            if trial.error is None:
                return failed(f"release {number} could not be noised ({type(error).__name__}), and the run went on")
            tried += 1
    return passed(f"{tried} failures of noise ended the run")


def _copies(lab: Lab) -> Finding:
    trial = lab.random_records
    if trial.error is not None:
        return undecided(f"on records of random pixels the run ended with {describe(trial.error)}")
    ours, theirs = trial.images.flatten(1).int(), trial.data.images.flatten(1).int()
    gap = (ours[:, None] - theirs[None]).abs().amax(dim=2)
    hits = int((gap.amin(dim=1) <= _NEAR).sum())
    if hits:
        return failed(f"{hits} of {len(ours)} released images are training records, or nearly")
    return passed(f"of {len(ours)} images none is within {_NEAR} grey levels of one of {len(theirs)} random records")


_NEAR = 16
"""Chance that 64 random pixels are all this near: (33/256)^64 < 1e-56."""


def _surroundings(trial: Trial) -> Finding | None:
    around = trial.around
    if around.contacted:
        return failed(f"it reaches outside: {sorted(around.contacted)[0]}")
    if around.written:
        return failed(f"it writes outside its folder: {sorted(around.written)[0]}")
    return None


def _outside(lab: Lab) -> Finding:
    for trial in (lab.first, lab.repeated, lab.renewed):
        found = _surroundings(trial)
        if found is not None:
            return found
    return passed("no file written outside the run's folder, no address or program contacted")


_DATA_PLACES = ("sklearn/datasets/data", "huggingface", "datasets")


def _other_data(lab: Lab) -> Finding:
    read = sorted(set().union(*(trial.around.read for trial in (lab.first, lab.repeated, lab.renewed))))
    mirror = os.environ.get("DPIB_DATA")
    places = (*_DATA_PLACES, str(Path(mirror).resolve())) if mirror else _DATA_PLACES
    data = [path for path in read if any(place in path for place in places)]
    if data:
        return failed(f"it reads a dataset by itself: {data[0]}")
    own = f"/{lab.method.method.implementation.partition('.')[0]}/"
    read = [path for path in read if "site-packages" not in path or own in path]
    if read:
        return undecided(f"it reads {read[0]}; whether private, validation or test data are in it cannot be told")
    return passed("no data file is opened from Python; what the harness hands over is the training side alone")


CHECKS = (
    Check(
        "access",
        "F1 F8",
        "Records are read by the harness's mechanisms, or inside a charge that hands them out.",
        "What is read past the ledger is in no ε, be it a count, a mean or a label.",
        "Go through noisy_sum, plan_noisy_sums or train; attributes with an underscore are not yours.",
        _access,
    ),
    Check(
        "budget",
        "F12",
        "ε recomputed from the ledger is no more than was asked for, and a smaller ε has no less noise.",
        "The board shows the recomputed number.",
        "Let mechanisms calibrate (noise_multiplier=None), or fix noise multipliers per ε in the presets.",
        _budget,
    ),
    Check(
        "resume",
        "F11",
        "Killed anywhere and started again, the run ends with the same images and the same ledger.",
        "A release made twice is two releases; an accountant that starts anew forgets the first.",
        "Keep results with context.once, loops in context.steps, and every access under a label of its own.",
        _resume,
        sees_own_noise=False,
    ),
    Check(
        "failures",
        "F13",
        "If noise cannot be drawn, the run ends.",
        "A fall-back without noise releases the records.",
        "Do not catch exceptions around mechanisms.",
        _failures,
        sees_own_noise=False,
    ),
    Check(
        "copies",
        "F17",
        "No released image is a training record, or nearly.",
        "Records of random pixels cannot be guessed: a single copy refutes any finite ε.",
        "Keep no records; generate from what mechanisms return.",
        _copies,
    ),
    Check(
        "other-data",
        "F9",
        "The method reads no data but what it is handed.",
        "Validation and test images are for the harness alone; private files are never public.",
        "Declare public data on the card and take them from pretrain(); ship weights inside the package.",
        _other_data,
    ),
    Check(
        "outside",
        "F14",
        "Nothing is written outside the run's folder; no network, no other program.",
        "What leaves the folder leaves the guarantee, and no reviewer sees it.",
        "Keep state with context.once and context.steps; use no network in fit() and generate().",
        _outside,
    ),
)
