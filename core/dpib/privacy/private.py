"""The capability through which alone a method reaches private images: a few mechanisms, no iteration, no indexing.

Python cannot stop hostile code in the same process from looking around it. The guarantee is of the harness for
honest code, together with review, ``dpib check`` and ``dpib audit``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dpib.context import RunContext, Stateful
from dpib.data.images import LabelledImages
from dpib.errors import PrivacyError
from dpib.privacy.ballot import Ballot
from dpib.privacy.dpsgd_plan import DpSgdPlan, Loss
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian
from dpib.privacy.guard import Guarded
from dpib.privacy.ledger import Charge, PrivacyLedger, Sampling
from dpib.privacy.noise import NoiseSource
from dpib.privacy.parts import PartModel, PartReleases, plan_part_releases
from dpib.privacy.rows import Statistic, clipped_sum, row_width
from dpib.privacy.sums import NoisySums
from dpib.spec import TaskInfo, describe_validation_error

CHUNK = 1000
"""Records whose statistic is computed at once."""


class PrivateDataset(Guarded):
    """Private images behind mechanisms. Every operation charges the ledger before it reads.

    Args:
        data: one side of a sensitive dataset, already checked against the card.
        task: public facts; ``task.nominal_size`` is the public N₀ to divide by.
        ledger: where accesses are entered.
        noise: source of DP noise and Poisson samples.
        context: device, checkpoints and progress for training.
    """

    def __init__(
        self, data: LabelledImages, task: TaskInfo, ledger: PrivacyLedger, noise: NoiseSource, context: RunContext
    ) -> None:
        data.check_against(task.shape, task.n_classes, "Private images")
        self.task = task
        self._data, self._ledger, self._noise, self._context = data, ledger, noise, context

    def _chunks(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in indices.split(CHUNK):
            if len(chunk):
                device = self._context.device
                yield self._data.images[chunk].to(device), self._data.labels[chunk].to(device)

    def _clipped_sum(
        self, statistic: Statistic, charge: Charge, step: int, clipping_norm: float, by_class: bool
    ) -> Tensor:
        assert isinstance(charge.event, SampledGaussian)
        sample = self._noise.poisson_sample(len(self._data), charge.event.sample_rate, charge.id, step)
        with self._noise.secret_torch("width", charge.id, step):
            width = self._width(statistic)
        n_classes = self.task.n_classes if by_class else 1
        total = torch.zeros((n_classes, width), dtype=torch.float64, device=self._context.device)
        with (
            self._context.reporter.task(charge.label),  # without counts: how many records there are is private
            self._noise.secret_torch("statistic", charge.id, step),
        ):
            for images, labels in self._chunks(sample):
                classes = labels.clone() if by_class else torch.zeros_like(labels)  # the statistic may change its own
                rows = statistic(images, labels)
                if row_width(rows, len(classes)) != width:
                    raise PrivacyError(f"'{charge.label}': expected one float row per image, as wide as a blank one's.")
                total += clipped_sum(rows, classes, n_classes, clipping_norm)
        return total.cpu() if by_class else total[0].cpu()

    def _width(self, statistic: Statistic) -> int:
        """Return the width of the statistic's rows, learnt from one blank image: an empty sample has a sum too."""
        device = self._context.device
        blank = torch.zeros((1, *self.task.shape), dtype=torch.uint8, device=device)
        width = row_width(statistic(blank, torch.zeros(1, dtype=torch.int64, device=device)), 1)
        if width is None:
            raise PrivacyError("Expected the statistic of 1 image as float (1, D).")
        return width

    def plan_noisy_sums(
        self,
        releases: int,
        *,
        label: str,
        clipping_norm: float,
        noise_multiplier: float | None = None,
        sample_rate: float = 1.0,
        by_class: bool = False,
    ) -> NoisySums:
        """Charge a series of noisy sums at once and return the object that makes them.

        Args:
            releases: how many sums will be released at most.
            label: what they are for; unique in the run.
            clipping_norm: L2 bound C on each row: the L2 sensitivity under add-or-remove-one.
            noise_multiplier: noise standard deviation over C; None: the smallest that fits the remaining budget.
            sample_rate: probability with which each record enters each sum.
            by_class: add each row to its label's row instead of one total; the sensitivity stays C.

        Privacy:
            Charges SampledGaussian(noise_multiplier, sample_rate, steps=releases).

        Raises:
            BudgetExceeded: before any data is read.
        """
        if not (math.isfinite(clipping_norm) and clipping_norm > 0):
            raise PrivacyError(f"Expected a finite clipping norm above 0, got {clipping_norm}.")
        known = {charge.id for charge in self._ledger.charges}
        charge = self._ledger.charge(
            label,
            _gaussian(noise_multiplier, sample_rate, releases),
            calibrate_noise=noise_multiplier is None,
            sensitivity=clipping_norm,
            norm="l2",
            sampling=_sampling(sample_rate),
            notes="one row per class" if by_class else "",
        )
        return NoisySums(self, charge, clipping_norm, by_class, continued=charge.id in known)

    def noisy_sum(
        self,
        statistic: Statistic,
        *,
        label: str,
        clipping_norm: float,
        noise_multiplier: float | None = None,
        sample_rate: float = 1.0,
        by_class: bool = False,
    ) -> Tensor:
        """Release one sum of clipped rows plus Gaussian noise.

        Args:
            statistic: maps images uint8 (B, C, H, W) and labels int64 (B,) to float rows (B, D), row by row; rows that
                are outer products may be given by their factors, ``OuterProducts``.
            label: what it is for; unique in the run.
            clipping_norm: L2 bound C on each row: the L2 sensitivity under add-or-remove-one.
            noise_multiplier: noise standard deviation over C; None: the smallest that fits the remaining budget.
            sample_rate: probability with which each record enters the sum.
            by_class: add each row to its label's row: the result is (classes, D) at the same sensitivity.

        Returns:
            Float32 (D,), or (classes, D): the sum plus N(0, (noise_multiplier · C)²). Divide by public constants only.

        Privacy:
            Charges SampledGaussian(noise_multiplier, sample_rate, steps=1).

        Raises:
            BudgetExceeded: before any data is read.
        """
        return self.plan_noisy_sums(
            1,
            label=label,
            clipping_norm=clipping_norm,
            noise_multiplier=noise_multiplier,
            sample_rate=sample_rate,
            by_class=by_class,
        ).release(statistic, index=0)

    def plan_part_releases(
        self,
        model: PartModel,
        releases: int,
        *,
        parts: int,
        label: str,
        shape: tuple[int, int],
        row_norm: float,
        noise_multiplier: float | None = None,
    ) -> PartReleases:
        """Divide the records into disjoint parts, each with a private model, and charge noisy answers of the models.

        Args:
            model: how a part's model learns and answers; see ``PartModel``.
            releases: T, answers of all parts together, in public turn.
            parts: M; a record's part is a public hash of the record.
            label: what it is for; unique in the run.
            shape: (B, D) of an answer.
            row_norm: L2 bound R that each row is clipped to; one record moves an answer by at most 2·R·√B.
            noise_multiplier: noise standard deviation over 2·R·√B; None: the smallest that fits the remaining budget.

        Privacy:
            Charges PartitionedGaussian(noise_multiplier, parts, steps=releases): ⌈T / M⌉ Gaussian releases.

        Raises:
            BudgetExceeded: before any data is read.
        """
        return plan_part_releases(self, model, releases, parts, label, shape, row_norm, noise_multiplier)

    def noisy_argmax(self, n_candidates: int, *, epsilon: float, label: str) -> Ballot:
        """Choose one of several candidates privately; used by the harness for model selection only.

        Privacy:
            Charges PureDp(epsilon): only the winner's index is released.
        """
        if n_candidates < 1:
            raise PrivacyError(f"Expected at least one candidate, got {n_candidates}.")
        charge = self._ledger.charge(
            label,
            PureDp(epsilon=epsilon),
            sensitivity=1.0,
            norm="linf",
            notes=f"report-noisy-max of {n_candidates}, exponential noise",
        )
        return Ballot(self, charge, n_candidates)

    def train(
        self,
        model: nn.Module,
        loss: Loss,
        plan: DpSgdPlan,
        *,
        label: str,
        optimizer: torch.optim.Optimizer,
        physical_batch_size: int | None = None,
        after_step: Callable[[int], None] | None = None,
        carry: Mapping[str, Stateful] | None = None,
    ) -> None:
        """Train a model with DP-SGD; see ``dpib.privacy.dpsgd.train_privately``.

        Privacy:
            Charges SampledGaussian(plan.noise_multiplier, plan.sample_rate, plan.steps) before the first step.

        Raises:
            BudgetExceeded: before any data is read.
            UnsupportedMechanism: if a layer mixes records, a trainable parameter gets no per-record gradient, or the
                optimizer updates others.
        """
        if physical_batch_size is not None and physical_batch_size < 1:
            raise PrivacyError(f"Expected a physical batch of at least 1 image, got {physical_batch_size}.")
        # Opacus takes as long to load as torch; what only looks at methods, such as a plan, goes without it.
        from dpib.privacy.dpsgd import check_trainable, train_privately

        check_trainable(model, loss, optimizer, plan.noise_multiplicity, self.task, self._context.device)
        charge = self._ledger.charge(
            label,
            _gaussian(plan.noise_multiplier, plan.sample_rate, plan.steps),
            calibrate_noise=plan.noise_multiplier is None,
            sensitivity=plan.clipping_norm,
            norm="l2",
            sampling=_sampling(plan.sample_rate),
            notes="" if plan.noise_multiplicity == 1 else f"noise multiplicity {plan.noise_multiplicity}",
        )
        train_privately(
            model,
            loss,
            plan,
            charge=charge,
            optimizer=optimizer,
            data=self._data,
            task=self.task,
            noise=self._noise,
            context=self._context,
            physical_batch_size=physical_batch_size,
            after_step=after_step,
            carry=carry or {},
        )
        self._ledger.done(charge, plan.steps)

    @contextmanager
    def declared(self, event: SampledGaussian, *, label: str, reason: str, source: str) -> Iterator[LabelledImages]:
        """Yield the raw records after charging what the author declares. The record is badged ``declared``.

        The author's noise cannot be replayed: entered again after a crash, it is charged again. Keep what comes out
        of it with ``context.once``.

        Args:
            event: what the author claims to release while inside the block.
            label: what it is for; unique in the run.
            reason: why no other mechanism fits.
            source: where the proof is.
        """
        if not reason.strip() or not source.strip():
            raise PrivacyError("declared() needs a reason and the source of its proof.")
        if not isinstance(event, SampledGaussian):
            raise PrivacyError(f"declared() takes a SampledGaussian, got {type(event).__name__}.")
        charge = self._ledger.charge(
            label,
            event,
            sampling=_sampling(event.sample_rate),
            assurance="declared",
            notes=f"{reason} Source: {source}",
        )
        yield self._data
        self._ledger.done(charge, event.steps)

    def reveal(self, *, label: str) -> LabelledImages:
        """Return the raw records without protection, for references whose card says ``private=False``.

        Privacy:
            Charges NonPrivate: ε is infinite from here on. Refused under a finite budget.
        """
        charge = self._ledger.charge(label, NonPrivate(), assurance="non-private")
        self._ledger.done(charge, 1)
        return self._data


def _sampling(sample_rate: float) -> Sampling:
    return "full" if sample_rate >= 1 else "poisson"


def _gaussian(noise_multiplier: float | None, sample_rate: float, steps: int) -> SampledGaussian:
    sigma = 1.0 if noise_multiplier is None else noise_multiplier  # None: the ledger calibrates it
    try:
        return SampledGaussian(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps)
    except ValidationError as error:
        raise PrivacyError(f"No such Gaussian mechanism: {describe_validation_error(error)}.") from error
