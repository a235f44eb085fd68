"""Record and replay: what a method would have released without noise, on many datasets with the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpib.privacy.events import Gaussian, PartitionedGaussian, PureDp
from dpib.privacy.ledger import Charge
from dpib.testing.checks.base import Check, Finding, describe, failed, not_applicable, passed, undecided
from dpib.testing.lab import Lab, Recorder, Trial, course, digest_of
from dpib.testing.replay import Release, distances
from dpib.testing.traces import holder_of

_ROUNDING = 1e-5
"""Relative error of sums in float32."""


def _differing(lab: Lab) -> tuple[str, Trial] | None:
    return next(((name, t) for name, t in lab.replays if t.error is not None or course(t) != course(lab.first)), None)


def _course(lab: Lab) -> Finding:
    found = _differing(lab)
    if found is None:
        return passed(f"the same charges, releases and progress on {len(lab.replays)} other datasets, an empty one too")
    name, trial = found
    if trial.error is not None:
        return failed(f"on {name} the run ended with {describe(trial.error)}")
    ours, theirs = (
        f"{len(t.charges)} charges, {len(t.noise.releases)} releases, {len(t.events)} progress events"
        for t in (lab.first, trial)
    )
    return failed(f"on {name}: {theirs}; on the base set: {ours}, or they differ in shape, scale or text")


def _sensitivity(lab: Lab) -> Finding:
    bounds = {charge.id: charge.sensitivity for charge in lab.first.charges}
    if not lab.first.noise.releases:
        return not_applicable("nothing is released through the harness's noise")
    worst, place, pairs, first = 0.0, "", 0, 0
    exempt = _moved_by_draws(lab.first)
    for pair in lab.neighbours:
        name, without, with_one = pair.name, pair.without, pair.with_one
        if without.error is not None or with_one.error is not None:
            continue
        try:
            gaps = distances(without.noise.releases, with_one.noise.releases)
        except AssertionError as error:
            return failed(f"{name}: {describe(error)}")
        pairs, first = pairs + 1, first + pair.first
        mixed = _parts_that_mix(lab.first.charges, without.noise.releases, gaps)
        if mixed:
            return failed(f"{name}: {mixed}")
        for release, gap in zip(without.noise.releases, gaps, strict=True):
            bound = bounds.get(release.charge)
            if bound is None:
                return failed(f"release {release.step} of {release.charge} has no declared sensitivity")
            if gap / bound > worst and not (pair.first and release.charge in exempt):
                worst, place = gap / bound, f"{name}, release {release.step} of {release.charge}"
    if not pairs:
        return undecided("no pair of neighbours could be run")
    if worst > 1 + _ROUNDING:
        return failed(f"one record moves a release by {worst:.4g} times the declared bound ({place})")
    shifted = f"{first} of them with it before all others"
    if exempt:
        shifted += f" (not judged: {', '.join(exempt.values())}, whose secret draws go by place)"
    return passed(f"{pairs} pairs of neighbours, {shifted}: at most {worst:.4g} of the declared bound")


def _moved_by_draws(trial: Trial) -> dict[str, str]:
    """Return, by id, the labels of charges whose releases move if all records take other places, and rightly so.

    Their losses or statistics draw from the secret, row by row: another place is another draw of the same law
    (``docs/engine.md``). The bound of disjoint parts holds for any draws.
    """
    drawing = [charge for charge in trial.charges if charge.id in trial.noise.drawing]
    return {charge.id: charge.label for charge in drawing if not isinstance(charge.event, PartitionedGaussian)}


def _parts_that_mix(charges: Sequence[Charge], releases: Sequence[Release], gaps: Sequence[float]) -> str | None:
    """Return what is wrong if one record moved releases of more than one part, though the parts are charged as one."""
    for charge in charges:
        if isinstance(charge.event, PartitionedGaussian):
            pairs = zip(releases, gaps, strict=True)
            moved = {one.step % charge.event.parts for one, gap in pairs if one.charge == charge.id and gap > 0}
            if len(moved) > 1:
                return f"one record moves releases of {len(moved)} parts of '{charge.label}'; it may move one part's"
    return None


def _trace(trial: Trial) -> tuple[object, ...]:
    return trial.images.tolist(), trial.output, digest_of(trial.files), [str(event) for event in trial.events]


def _post_processing(lab: Lab) -> Finding:
    if lab.declared:
        return undecided("what the author releases by declaration reaches the images and cannot be told from a leak")
    if lab.repeated.error is not None or not torch.equal(lab.first.images, lab.repeated.images):
        return undecided("two equal runs differ already; see 'repeatable'")
    steady = _trace(lab.repeated) == _trace(lab.first)
    compared = 0
    for name, trial in lab.replays:
        if trial.error is not None:
            continue
        compared += 1
        if not torch.equal(trial.images, lab.first.images):
            n = int((trial.images != lab.first.images).flatten(1).any(dim=1).sum())
            return failed(f"answered alike, {n} of {len(trial.images)} images differ between the base set and {name}")
    if not steady:
        return undecided("images follow the answers, but files or output differ even between two equal runs")
    return passed(f"answered alike, {compared} datasets give the same images, bit for bit")


def _artefacts(lab: Lab) -> Finding:
    """Look for pre-noise values in files and output, and for anything that follows the records."""
    secrets = [part for release in lab.first.noise.releases for part in release.exact]
    found = holder_of(secrets, lab.first.files, {"the output": lab.first.output})
    if found:
        return failed(f"{found} contains values from before noise")
    if lab.unprotected:
        return not_applicable("the ledger hands records out without protection: there is nothing left to leak")
    if lab.declared:
        return undecided("records were handed out; only values of the harness's releases could be looked for")
    if _leftovers(lab.repeated) != _leftovers(lab.first):
        return undecided("files or output differ even between two equal runs")
    for name, trial in lab.replays:
        if trial.error is None and _leftovers(trial) != _leftovers(lab.first):
            ours, theirs = _leftovers(lab.first), _leftovers(trial)
            places = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
            return failed(f"answered alike, {', '.join(places)} differs between the base set and {name}")
    return passed(f"{len(lab.first.files)} files and the output hold no such value and follow the answers alone")


def _leftovers(trial: Trial) -> dict[str, str]:
    return {**digest_of(trial.files), "the output": trial.output}


def _selection(lab: Lab) -> Finding:
    ballots = [release for release in lab.first.noise.releases if release.kind == "exponential"]
    if not any(isinstance(charge.event, PureDp) for charge in lab.first.charges):
        return not_applicable("the ledger has no private choice")
    if not ballots:
        return failed("a private choice was charged, but its noise was never drawn")
    for ballot in ballots:
        if not _follows(lab, ballot):
            return failed(f"whoever wins {ballot.charge} by noise, the images stay the same")
    return passed("the images follow the noisy winner")


def _follows(lab: Lab, ballot: Release) -> bool:
    scores = ballot.answer[0]
    winner = int(scores.argmax())
    for other in [index for index in range(len(scores)) if index != winner][: None if lab.full else 3]:
        swapped = scores.clone()
        swapped[other] = scores.max() + 1
        answers = dict(lab.first.noise.by_key)
        answers[ballot.charge, ballot.step] = Release(
            ballot.kind, ballot.charge, ballot.step, ballot.exact, ballot.scale, (swapped,)
        )
        trial = lab.trial(lab.first.data, Recorder(answers=answers))
        if trial.error is None and not torch.equal(trial.images, lab.first.images):
            return True
    return False


def _scale(lab: Lab) -> Finding:
    """Compare what is noted of every release with what was charged for it, on all datasets."""
    if not lab.mechanisms:
        return not_applicable("no access through a mechanism")
    for name, trial in [("the base set", lab.first), *lab.replays]:
        if trial.error is not None:
            continue
        for charge in trial.charges:
            if charge.assurance != "mechanism":
                continue
            steps = charge.event.steps if isinstance(charge.event, Gaussian) else 1
            seen = [release for release in trial.noise.releases if release.charge == charge.id]
            done = trial.executed.get(charge.id)
            if done is None and not seen:
                return failed(f"on {name}: '{charge.label}' was charged and never carried out")
            if len(seen) != (steps if done is None else done):
                return failed(
                    f"on {name}: the ledger has {done} of {steps} steps of '{charge.label}' done, noise was drawn for "
                    f"{len(seen)}"
                )
            wrong = [release.scale for release in seen if not _is_charged(charge, release)]
            if wrong:
                return failed(f"on {name}: noise of scale {wrong[0]:.4g} for '{charge.label}', less than charged")
        stray = {release.charge for release in trial.noise.releases} - {charge.id for charge in trial.charges}
        if stray:
            return failed(f"on {name}: noise was drawn for {', '.join(stray)}, which is in no ledger")
    count = len(lab.first.noise.releases)
    return passed(f"{count} releases, each charged, executed and noised as charged, on empty data too")


def _is_charged(charge: Charge, release: Release) -> bool:
    if charge.sensitivity is None:
        return False
    if isinstance(charge.event, Gaussian):
        due = charge.event.noise_multiplier * charge.sensitivity
        return release.kind == "gaussian" and release.scale >= due * (1 - 1e-9)
    if not isinstance(charge.event, PureDp):
        return False
    return release.kind == "exponential" and release.scale >= charge.sensitivity / charge.event.epsilon * (1 - 1e-9)


CHECKS = (
    Check(
        "course",
        "F7 F8",
        "Charges, releases, steps, shapes and progress are the same whatever the records, also without any.",
        "A number of steps, a shape or an error that depends on the records tells about them and was not paid for.",
        "Fix everything by public facts (task, settings) before the first access; release on empty data too.",
        _course,
        sees_own_noise=False,
    ),
    Check(
        "sensitivity",
        "F3 F4 F5 F19",
        "One record more moves every release, as a whole, by no more than was charged; of disjoint parts, only one.",
        "Noise is scaled to that bound; beyond it there is less privacy than the ledger says.",
        "Map every record to its own row, without looking at the others or at its place among them; divide by public "
        "constants after the noise. Keep nothing between calls for disjoint parts: what one part learnt is for that "
        "part alone.",
        _sensitivity,
        sees_own_noise=False,
    ),
    Check(
        "post-processing",
        "F8",
        "The images follow the noisy answers and public facts alone.",
        "Whatever else gets from the records into the images is released without noise.",
        "Keep nothing a statistic or loss saw: no counts, no examples, no buffers, no caches in modules. Use what the "
        "mechanism returns.",
        _post_processing,
    ),
    Check(
        "artefacts",
        "F14",
        "No file, log line or printed text holds values from before noise or follows the records.",
        "Run folders and logs are shared; a clean histogram in a log is a release.",
        "Log and store noisy values only. Draw public random numbers apart from steps that see records.",
        _artefacts,
    ),
    Check(
        "selection",
        "F10",
        "A private choice uses the noisy winner and nothing else of the scores.",
        "The clean winner, or its score, is a second release that nobody paid for.",
        "Use the index that winner() returns; do not look at the ballot.",
        _selection,
        sees_own_noise=False,
    ),
    Check(
        "noise-scale",
        "F6 F11",
        "For every charged step noise is drawn once, at the scale that was charged; nothing else is drawn.",
        "ε is computed from the ledger; it is true only if the ledger is what happened.",
        "Release through the mechanism that charged; make every release you planned or plan fewer.",
        _scale,
        sees_own_noise=False,
    ),
)
