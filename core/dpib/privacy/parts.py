"""Releases of private models, one for each of M disjoint parts of the records, in public turn.

The privacy argument (``docs/parts.md``) needs three things, and this module sees to them. A record's part depends on
the record alone (``dpib.data.parts``). What a part learns is kept here, for that part only. What comes out is a matrix
of clipped rows with Gaussian noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from dpib.context import load_state, save_state
from dpib.data.parts import part_numbers
from dpib.errors import PrivacyError, RunError
from dpib.privacy.events import PartitionedGaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.rows import clip_rows

if TYPE_CHECKING:
    from dpib.privacy.private import PrivateDataset

State = dict[str, Any]
"""What a part has learnt: tensors, numbers, strings, and lists and dicts of them."""

Query = Mapping[str, Tensor]
"""What is asked: made from public facts and earlier releases."""


class PartModel(Protocol):
    """A private model as two functions: no attribute changes, all that is learnt is in the state.

    Both get all records of one part, never none, as uint8 (n, C, H, W) and int64 (n,) on the run's device. Inside them
    torch's global generators are seeded from the run's secret: draw from them. They may do to the records whatever
    they like, except keep, print or store anything.
    """

    def warm_up(self, images: Tensor, labels: Tensor) -> State:
        """Return the state of a part that is asked for the first time."""

    def respond(self, state: State, images: Tensor, labels: Tensor, query: Query) -> tuple[State, Tensor]:
        """Return the new state and the rows to release, float of the shape that was planned."""


class PartReleases:
    """A planned series of releases, charged as a whole before the first. See ``PrivateDataset.plan_part_releases``.

    It belongs into the ``carry`` of the ``context.steps`` loop that makes the releases: the checkpoint then holds the
    number of releases, and the private states of that moment stay in a folder of the harness until the next but one.
    They are deleted when the loop's last checkpoint is on disk.
    """

    def __init__(
        self, owner: PrivateDataset, charge: Charge, model: PartModel, shape: tuple[int, int], row_norm: float
    ) -> None:
        self._owner, self._charge, self._model = owner, charge, model
        self._shape, self._row_norm = shape, row_norm
        self._states = _States(owner._context.hidden_folder / charge.id)
        self._next = 0
        self._checkpoints = (0, 0)
        self._members: tuple[Tensor, ...] | None = None

    @property
    def noise_multiplier(self) -> float:
        """Noise standard deviation over the L2 sensitivity of the whole matrix, as charged."""
        return self._event.noise_multiplier

    @property
    def _event(self) -> PartitionedGaussian:
        assert isinstance(self._charge.event, PartitionedGaussian)
        return self._charge.event

    def release(self, step: int, query: Query) -> Tensor:
        """Ask part ``step`` mod M and return its noisy rows.

        Args:
            step: number of the release; they are made in order.
            query: what the model is asked, made from public facts and earlier releases.

        Returns:
            Float32 (B, D): rows clipped to the planned norm plus N(0, (noise_multiplier · sensitivity)²). A part
            without records answers zeros plus noise.

        Raises:
            PrivacyError: if the release is out of turn, or the rows have not the planned shape.
        """
        event, label = self._event, self._charge.label
        if step != self._next or step >= event.steps:
            raise PrivacyError(
                f"Release {step} of '{label}' is out of turn: {self._next} of {event.steps} were made. Release in "
                "order, and put the plan into the carry of the loop, so that it continues where the loop does."
            )
        self._next = step + 1
        exact = self._rows(step, {key: value.detach().clone() for key, value in query.items()})
        std = event.noise_multiplier * sensitivity_of(self._shape[0], self._row_norm)
        (noisy,) = self._owner._noise.add_gaussian([exact], std, self._charge.id, step)
        if self._next == event.steps:
            if self._checkpoints == (0, 0):  # a process that is killed now starts anew
                self._states.clear()
            self._owner._ledger.done(self._charge, event.steps)
        return noisy.float().to(self._owner._context.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of releases made: all that a checkpoint may hold."""
        self._checkpoints = (self._checkpoints[1], self._next)
        return {"released": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the releases that a checkpoint counts, before any is made in this process.

        Raises:
            PrivacyError: if releases were made: another query under the noise of one would give the difference away.
        """
        if self._next:
            raise PrivacyError(f"'{self._charge.label}' cannot be rewound: {self._next} releases were made.")
        self._next = int(state["released"])
        self._checkpoints = (self._next, self._next)
        self.saved()

    def saved(self) -> None:
        """Delete the private states as soon as a checkpoint says that all releases were made."""
        if self._checkpoints[1] == self._event.steps:
            self._states.clear()

    def _visits(self, part: int, releases: int) -> int:
        """Return how many of the first ``releases`` were of this part."""
        return max(0, -(-(releases - part) // self._event.parts))

    def _rows(self, step: int, query: Query) -> Tensor:
        """Let the part answer; keep its new state, and those that the last two checkpoints need."""
        event, owner = self._event, self._owner
        part, visit = step % event.parts, step // event.parts
        members = self._of_part(part)
        if not len(members):
            return torch.zeros(self._shape, dtype=torch.float64)
        device = owner._context.device
        images, labels = owner._data.images[members].to(device), owner._data.labels[members].to(device)
        if visit == 0:
            with owner._noise.secret_torch("warm-up", self._charge.id, part):
                state = self._model.warm_up(images.clone(), labels.clone())
        else:
            state = self._states.load(part, visit, device)
        with owner._noise.secret_torch("respond", self._charge.id, step):
            state, rows = self._model.respond(state, images, labels, query)
        if step + event.parts < event.steps:
            needed = {self._visits(part, released) for released in self._checkpoints}
            self._states.save(part, visit + 1, state, needed)
        if tuple(rows.shape) != self._shape or not rows.is_floating_point():
            raise PrivacyError(f"'{self._charge.label}': expected float rows of the shape that was planned.")
        return clip_rows(rows, self._row_norm).cpu()

    def _of_part(self, part: int) -> Tensor:
        if self._members is None:
            numbers = part_numbers(self._owner._data, self._owner.task.dataset, self._event.parts)
            order = numbers.argsort(stable=True)
            self._members = order.split(numbers.bincount(minlength=self._event.parts).tolist())
        return self._members[part]


def sensitivity_of(rows: int, row_norm: float) -> float:
    """Return 2·R·√B: how far B rows of norm at most R can move together in L2."""
    return 2 * row_norm * math.sqrt(rows)


def plan_part_releases(
    owner: PrivateDataset,
    model: PartModel,
    releases: int,
    parts: int,
    label: str,
    shape: tuple[int, int],
    row_norm: float,
    noise_multiplier: float | None,
) -> PartReleases:
    """Charge and return a plan; see ``PrivateDataset.plan_part_releases``."""
    if min(releases, parts, *shape) < 1:
        raise PrivacyError(f"'{label}': expected at least one release, part, row and column.")
    if not (math.isfinite(row_norm) and row_norm > 0):
        raise PrivacyError(f"'{label}': expected a finite bound on rows above 0, got {row_norm}.")
    if noise_multiplier is not None and not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise PrivacyError(f"'{label}': expected a finite noise multiplier above 0, got {noise_multiplier}.")
    event = PartitionedGaussian(noise_multiplier=noise_multiplier or 1.0, parts=parts, steps=releases)
    charge = owner._ledger.charge(
        label,
        event,
        calibrate_noise=noise_multiplier is None,
        sensitivity=sensitivity_of(shape[0], row_norm),
        norm="l2",
        sampling="parts",
        notes=f"parallel over {parts} parts, {event.steps_per_part} releases each, of {shape[0]} rows",
    )
    return PartReleases(owner, charge, model, shape, row_norm)


class _States:
    """The states of parts on disk, readable by the owner alone, several versions where checkpoints need them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, part: int, version: int) -> Path:
        return self._folder / f"{part:06d}-{version}.pt"

    def load(self, part: int, version: int, device: str) -> State:
        path = self._path(part, version)
        if not path.exists():
            raise RunError(f"The private state {path} is lost. Delete the run folder to start anew.")
        state: State = load_state(path, device)
        return state

    def save(self, part: int, version: int, state: State, needed: set[int]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        save_state(self._path(part, version), state, mode=0o600)
        for path in self._folder.glob(f"{part:06d}-*.pt"):
            if int(path.stem.partition("-")[2]) not in needed | {version}:
                path.unlink()

    def clear(self) -> None:
        for path in self._folder.glob("*.pt"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()
