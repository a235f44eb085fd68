"""Chance: noise that is fresh and independent, and samples that are those accounted for."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from scipy import stats
from torch import Tensor

from dpib.data.parts import part_numbers
from dpib.privacy.events import Gaussian, PartitionedGaussian, SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.noise import NoiseSource
from dpib.testing.checks.base import Check, Finding, failed, finished, not_applicable, passed, undecided
from dpib.testing.lab import SECRET, Lab, Trial
from dpib.testing.tiny import TASK
from dpib.testing.watch import Read

CHANCE = 1e-9
"""Probability at which a correct method would fail a statistical test by chance."""

_SORTER = "dpib.data.parts"
"""Looks at every record, and learns of each its part and nothing else."""

_poisson_sample = NoiseSource.poisson_sample


def _fresh_noise(lab: Lab) -> Finding:
    noisy = [charge for charge in lab.first.charges if charge.assurance != "non-private"]
    if not noisy:
        return not_applicable("nothing in the ledger has noise")
    problem = finished(lab.renewed, "A run with fresh noise ended with")
    if problem:
        return problem
    if lab.declared:
        if torch.equal(lab.first.images, lab.renewed.images):
            return failed("two runs with one seed give the same images, bit for bit: nothing in them is noise")
        if lab.repeated.error is None and torch.equal(lab.repeated.images, lab.first.images):
            return failed("the author's own noise is the same in every run")
    reused = lab.first.noise.by_key.keys() & lab.renewed.noise.by_key.keys()
    for key in reused:
        ours, theirs = (_noise(trial, key) for trial in (lab.first, lab.renewed))
        if torch.equal(ours, theirs):
            return failed(f"release {key[1]} of {key[0]} has the same noise in two runs")
    if not reused and not lab.declared:
        return failed("two runs with one seed have no noise to compare: the harness was not asked for any")
    return passed(f"the noise of {len(reused)} releases differs between two runs with one seed")


def _noise(trial: Trial, key: tuple[str, int]) -> Tensor:
    release = trial.noise.by_key[key]
    parts = [(a.double() - e.double()).flatten() for a, e in zip(release.answer, release.exact, strict=True)]
    return torch.cat(parts) / release.scale


def _independent(lab: Lab) -> Finding:
    trials = [trial for trial in (lab.first, lab.renewed) if trial.error is None]
    drawn = {
        kind: [_noise(trial, key) for trial in trials for key, r in trial.noise.by_key.items() if r.kind == kind]
        for kind in ("gaussian", "exponential")
    }
    if not any(drawn.values()):
        return not_applicable("nothing is released through the harness's noise")
    found = []
    for kind, parts in drawn.items():
        if not parts:
            continue
        values = torch.cat(parts).numpy()
        chance = stats.kstest(values, "norm" if kind == "gaussian" else "expon").pvalue
        if chance < CHANCE:
            return failed(f"{len(values)} coordinates are not {kind} noise of the charged scale (p = {chance:.1g})")
        found.append(f"{len(values)} coordinates are {kind} noise of the charged scale (p = {chance:.2g})")
        for ours, theirs in pairwise(parts):
            n = min(len(ours), len(theirs))
            if n < 8:
                continue
            r = float(torch.corrcoef(torch.stack([ours[:n], theirs[:n]]))[0, 1])
            if stats.pearsonr(ours[:n].numpy(), theirs[:n].numpy()).pvalue < CHANCE:
                return failed(f"the noise of two releases is correlated, r = {r:.3f}")
    return passed("; ".join(found) + ", uncorrelated from release to release")


def _batches(trial: Trial, charge: Charge) -> list[Tensor]:
    """Return the records read before each release of a charge, unions over chunks."""
    batches: list[Tensor] = []
    reads: list[Tensor] = []
    n = len(trial.data)
    for mark in trial.noise.marks:
        if isinstance(mark, Read):
            if mark.what == "images" and mark.reader != _SORTER:
                reads.append(torch.arange(n) if mark.indices is None else mark.indices)
        else:
            if mark[0] == charge.id:
                batches.append(torch.cat(reads).unique() if reads else torch.zeros(0, dtype=torch.int64))
            reads = []
    return batches


def _sampling(lab: Lab) -> Finding:
    sampled = lab.sampled(lab.first.charges)
    parted = [c for c in lab.mechanisms if isinstance(c.event, PartitionedGaussian)]
    full = [c for c in lab.mechanisms if isinstance(c.event, Gaussian) and c not in (*sampled, *parted)]
    for charge in lab.mechanisms:
        priced = "parts" if charge in parted else "poisson" if charge in sampled else "full"
        if charge.sampling != priced:
            return failed(f"'{charge.label}' is priced as '{priced}', but its records enter as '{charge.sampling}'")
    if parted:
        of_parts = _parts(lab, parted)
        if of_parts.outcome == "failed" or not sampled:
            return of_parts
    if not sampled and not full:
        return not_applicable("the ledger has no Gaussian release of records")
    if not sampled:
        return not_applicable(f"all {len(full)} Gaussian charges are for all records; none claims amplification")
    steps = 0
    trials = [(SECRET, lab.first)]
    for charge in sampled:
        assert isinstance(charge.event, SampledGaussian)
        if charge.assurance == "declared":
            finding = _own_sampler(lab, charge)
            if finding is not None:
                return finding
            continue
        for secret, trial in trials:
            batches = _batches(trial, charge)
            for step, batch in enumerate(batches):
                due = _poisson_sample(NoiseSource(secret), len(trial.data), charge.event.sample_rate, charge.id, step)
                if not torch.equal(batch, due):
                    return failed(
                        f"step {step} of '{charge.label}' read {len(batch)} records; its Poisson sample has {len(due)} "
                        "and is another one"
                    )
            steps += len(batches)
    return passed(f"{steps} steps read exactly the records of their Poisson samples")


def _parts(lab: Lab, charges: list[Charge]) -> Finding:
    """Judge releases on disjoint parts by the records that each of them read."""
    steps = 0
    for trial in (lab.first, *(trial for _, trial in lab.replays if trial.error is None)):
        for charge in charges:
            assert isinstance(charge.event, PartitionedGaussian)
            owner = part_numbers(trial.data, TASK.dataset, charge.event.parts)
            for step, batch in enumerate(_batches(trial, charge)):
                if bool((owner[batch] != step % charge.event.parts).any()):
                    return failed(f"release {step} of '{charge.label}' reads records of another part")
                steps += 1
    return passed(f"{steps} releases read records of their own part alone")


def _own_sampler(lab: Lab, charge: Charge) -> Finding | None:
    """Judge by the batches that an author's own sampler read; None if nothing speaks against it."""
    assert isinstance(charge.event, SampledGaussian)
    rate, steps, n = charge.event.sample_rate, charge.event.steps, len(lab.first.data)
    trials = [lab.first, lab.repeated, lab.renewed]
    batches: list[Tensor] = []
    for trial in trials:
        reads = [
            read.indices.unique()
            for read in trial.reads
            if read.what == "images" and read.indices is not None and not read.reader.startswith("dpib.")
        ]
        if len(reads) != steps:
            return undecided(
                f"'{charge.label}' claims {steps} Poisson samples, {len(reads)} batches were read: which record "
                "entered which step cannot be told"
            )
        batches += reads
    sizes = torch.tensor([float(len(batch)) for batch in batches])
    table = torch.zeros(len(batches), n)
    for row, batch in zip(table, batches, strict=True):
        row[batch] = 1
    label = f"'{charge.label}': {len(batches)} batches"
    spread = float((sizes - n * rate).square().sum() / (n * rate * (1 - rate)))
    found = _two_sided(spread, len(batches))
    if found < CHANCE:
        return failed(
            f"{label} have a variance of {float(sizes.var()):.3g}, Poisson samples {n * rate * (1 - rate):.3g} "
            f"(p = {found:.1g})"
        )
    counts = table.sum(dim=0)
    spread = float((counts - len(batches) * rate).square().sum() / (len(batches) * rate * (1 - rate)))
    found = _two_sided(spread, n)
    if found < CHANCE:
        return failed(f"{label}: how often each record enters is not {rate:.3g} at random (p = {found:.1g})")
    repeats = float(sum((a * b).sum() for a, b in pairwise(table)))
    pairs = (len(batches) - 1) * n
    found = float(stats.binomtest(round(repeats), pairs, rate**2).pvalue) if pairs else 1.0
    if found < CHANCE:
        return failed(f"{label}: records come back in the next one {repeats:g} times in {pairs} (p = {found:.1g})")
    return None


def _two_sided(value: float, freedom: int) -> float:
    below = float(stats.chi2.cdf(value, freedom))
    return 2 * min(below, float(stats.chi2.sf(value, freedom))) if math.isfinite(value) else 0.0


CHECKS = (
    Check(
        "fresh-noise",
        "F2",
        "Two runs with one seed differ by fresh noise.",
        "Noise that can be computed from a seed can be subtracted. torch's global generator starts alike in every "
        "process.",
        "Use the harness's mechanisms. Own noise needs entropy of the operating system, in every run anew.",
        _fresh_noise,
        sees_own_noise=False,
    ),
    Check(
        "noise-law",
        "F2 F6",
        "Drawn noise has the law and scale that were charged and is independent from release to release.",
        "Reused noise cancels out between two releases.",
        "Do not patch or replace the noise source.",
        _independent,
        sees_own_noise=False,
    ),
    Check(
        "sampling",
        "F1 F16 F18",
        "Where amplification is claimed, exactly the records of a Poisson sample are read in each step; where disjoint "
        "parts are, those of one part.",
        "Shuffled or fixed batches are not amplified like Poisson samples: ε can be several times what is claimed.",
        "Let private.train or noisy_sum(sample_rate=...) draw the sample. For shuffled batches declare rate 1.",
        _sampling,
        sees_own_noise=False,
    ),
)
