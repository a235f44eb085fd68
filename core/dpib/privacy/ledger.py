"""The append-only account of every access to private data. Imports no torch.

``ledger.jsonl`` has one JSON object a line: ``open`` (a side and its budget), ``charge`` (before anything is read)
and ``done`` (steps really executed). A charge is on disk before it returns, so a crash can only over-count. A line
that was cut off by a crash belongs to a charge that never returned; it is not read, and the next line replaces it.
Reading changes nothing.

A charge is found again by its label. After a crash, the same label with the same parameters is the same access: it
is replayed with the same noise (``noise.py``) and costs nothing. With other parameters it is refused. Without the
secret that made its noise, it is charged anew; so is a declared access, whose noise is its author's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field, ValidationError

from dpib.errors import BudgetExceeded, PrivacyError, RecordError, UnsupportedMechanism
from dpib.privacy.accountants import AccountantName, calibrate, check_priceable, epsilon
from dpib.privacy.events import EVENT, AnyEvent, Event, Gaussian, NonPrivate
from dpib.spec import Frozen, Relation, canonical_json

Side = Literal["train", "validation"]
Sampling = Literal["full", "poisson", "parts"]
_ROUNDING = 1e-9


class Budget(Frozen):
    """What may be spent on one side of the data; ``epsilon`` None means no limit (non-private references)."""

    epsilon: float | None = Field(gt=0)
    delta: float = Field(gt=0, lt=1)


class Charge(Frozen):
    """One access to private data.

    Attributes:
        id: unique in the run; also addresses the noise.
        label: what the access is for, unique per side.
        sensitivity: bound on one record's contribution under add-or-remove-one, in ``norm``.
        sampling: who enters a release: all records, a Poisson sample of them, or one of disjoint parts in public turn.
        session: identifies the secret that makes the noise.
    """

    id: str
    side: Side
    label: str
    event: Event
    sensitivity: float | None = None
    norm: Literal["l2", "linf"] | None = None
    sampling: Sampling = "full"
    assurance: Literal["mechanism", "declared", "non-private"] = "mechanism"
    session: str = ""
    notes: str = ""

    def same_access(self, other: Charge) -> bool:
        """Return whether both describe one access, apart from its id, session and calibrated noise."""
        ours, theirs = (c.model_dump(exclude={"id", "session", "event"}) for c in (self, other))
        return ours == theirs


class LedgerFile:
    """Reads and appends the lines of one ``ledger.jsonl``. Every appended line is on disk when the call returns.

    Args:
        path: the file; made by the first append.
        witness: also gets every appended line, after the disk: a process that watches this one (``dpib.isolation``).
    """

    def __init__(self, path: Path, witness: IO[bytes] | None = None) -> None:
        self.path, self._witness = path, witness
        content = path.read_bytes() if path.exists() else b""
        self._size = content.rfind(b"\n") + 1
        self.lines: list[dict[str, Any]] = _parse_lines(content[: self._size], path)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line and flush it to the disk.

        Raises:
            PrivacyError: if somebody else wrote to the file since it was read.
        """
        text = canonical_json(line).encode() + b"\n"
        created = not self.path.exists()
        with self.path.open("ab") as file:
            self._drop_torn_tail()
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(text)
        self.lines.append(dict(line))  # what is on disk counts, whatever fails from here on
        if created:
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        if self._witness is not None:
            self._witness.write(text)
            self._witness.flush()

    def _drop_torn_tail(self) -> None:
        with self.path.open("r+b") as file:
            content = file.read()
            if len(content) < self._size or b"\n" in content[self._size :]:
                raise PrivacyError(f"{self.path} was changed by somebody else. One process at a time may charge it.")
            file.truncate(self._size)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return hashlib.sha256(content).hexdigest()


def read_ledger_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ledger file.

    Raises:
        RecordError: if the file cannot be read or a line is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    return _parse_lines(content, path)


def _parse_lines(content: bytes, path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}: line {number} is not JSON; the ledger was edited.") from error
        if not isinstance(line, dict):
            raise RecordError(f"{path}: line {number} is not a JSON object; the ledger was edited.")
        lines.append(line)
    return lines


def parse_charges(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Charge], dict[str, int]]:
    """Return the charges and, by charge id, the steps executed.

    Raises:
        RecordError: on an unknown kind of line, a malformed charge, a repeated id, or steps of an unknown charge.
    """
    charges: dict[str, Charge] = {}
    executed: dict[str, int] = {}
    for line in lines:
        kind = line.get("type")
        content = {key: value for key, value in line.items() if key != "type"}
        if kind == "charge":
            try:
                charge = Charge.from_plain(content)
            except ValidationError as error:
                raise RecordError(f"The ledger has a malformed charge: {error}") from error
            if charge.id in charges:
                raise RecordError(f"The ledger charges '{charge.id}' twice.")
            charges[charge.id] = charge
        elif kind == "done":
            name, steps = content.get("id"), content.get("steps_executed")
            if not isinstance(name, str) or name not in charges or type(steps) is not int or steps < 0:
                raise RecordError(f"The ledger reports no count of steps of a known charge: {content}.")
            executed[name] = steps
        elif kind != "open":
            raise RecordError(f"The ledger has a line of unknown type {kind!r}.")
    return list(charges.values()), executed


class PrivacyLedger:
    """The account of one side of the data.

    Args:
        file: shared by both sides of a run.
        session: identifies the secret of this run's noise; charges of another session cannot be replayed.
    """

    def __init__(
        self,
        file: LedgerFile,
        side: Side,
        budget: Budget,
        session: str,
        relation: Relation = Relation.ADD_OR_REMOVE_ONE,
    ) -> None:
        self.side, self.budget, self.relation, self.session = side, budget, relation, session
        self._file = file
        self._labels_seen: set[str] = set()
        opening = {"type": "open", "side": side, "relation": relation.value, **budget.model_dump()}
        openings = [line for line in file.lines if line.get("type") == "open" and line.get("side") == side]
        if not openings:
            file.append(opening)
        elif openings[0] != opening:
            raise PrivacyError(f"The ledger of this run was opened with another budget: {openings[0]}, not {opening}.")

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Everything charged to this side so far, by this or an earlier process."""
        return tuple(charge for charge in parse_charges(self._file.lines)[0] if charge.side == self.side)

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        """The events of all charges."""
        return tuple(charge.event for charge in self.charges)

    def spent(self, accountant: AccountantName = "pld") -> float:
        """Return ε spent so far at the budget's δ."""
        return epsilon(self.events, self.budget.delta, accountant, self.relation)

    def charge(
        self,
        label: str,
        event: AnyEvent,
        *,
        calibrate_noise: bool = False,
        sensitivity: float | None = None,
        norm: Literal["l2", "linf"] | None = None,
        sampling: Sampling = "full",
        assurance: Literal["mechanism", "declared", "non-private"] = "mechanism",
        notes: str = "",
    ) -> Charge:
        """Enter an access before it happens, or find it again after a crash.

        Args:
            label: what the access is for; every access of a run needs its own.
            event: what is to be released.
            calibrate_noise: ignore the event's noise multiplier and use the smallest that fits what is left.
            sensitivity: bound on one record's contribution under add-or-remove-one.
            norm: the norm of that bound.
            sampling: how records enter.
            assurance: who vouches for the event: a mechanism of the harness, or the author.
            notes: for the reader of the ledger.

        Returns:
            The charge; its ``id`` addresses the noise, its event holds the noise multiplier to use.

        Raises:
            BudgetExceeded: if the budget does not allow it. Nothing is charged.
            PrivacyError: if the label was used before for something else.
            UnsupportedMechanism: if it has too little noise to be priced. Nothing is charged.
        """
        draft = Charge(
            id=f"{self.side}-{len(self.charges) + 1:04d}",
            side=self.side,
            label=label,
            event=EVENT.validate_python(event),
            sensitivity=sensitivity,
            norm=norm,
            sampling=sampling,
            assurance=assurance,
            session=self.session,
            notes=notes,
        )
        if label in self._labels_seen:
            raise PrivacyError(f"Two accesses are labelled '{label}'. Give every access its own label.")
        self._labels_seen.add(label)
        earlier = next((c for c in self.charges if c.label == label and c.session == self.session), None)
        if earlier is not None and assurance != "declared":
            return self._replay(earlier, draft, calibrate_noise)
        if calibrate_noise:
            draft = draft.model_copy(update={"event": self._calibrated(draft)})
        check_priceable(draft.event, f"'{label}'")
        self._check(draft)
        self._file.append({"type": "charge", **draft.model_dump(mode="json")})
        return draft

    def _replay(self, earlier: Charge, draft: Charge, calibrated: bool) -> Charge:
        event = draft.event
        if calibrated and isinstance(event, Gaussian) and isinstance(earlier.event, Gaussian):
            event = event.with_noise(earlier.event.noise_multiplier)
        if not earlier.same_access(draft) or event != earlier.event:
            raise PrivacyError(
                f"The access '{draft.label}' was charged before this run was interrupted, with other parameters. "
                "The method or its settings changed; start a new run folder."
            )
        return earlier

    def _calibrated(self, draft: Charge) -> Gaussian:
        if not isinstance(draft.event, Gaussian) or self.budget.epsilon is None:
            raise UnsupportedMechanism("Only Gaussian events under a finite budget can be calibrated.")
        sigma = calibrate(self.events, draft.event, self.budget.epsilon, self.budget.delta, self.relation)
        return draft.event.with_noise(sigma)

    def _check(self, draft: Charge) -> None:
        if self.budget.epsilon is None:
            return
        if isinstance(draft.event, NonPrivate):
            raise BudgetExceeded(f"'{draft.label}' reads private data unprotected; the method's card must say so.")
        total = epsilon([*self.events, draft.event], self.budget.delta, "pld", self.relation)
        if not total <= self.budget.epsilon * (1 + _ROUNDING):
            raise BudgetExceeded(
                f"'{draft.label}' would bring the {self.side} side to ε = {total:.4g}; the budget is "
                f"{self.budget.epsilon:.4g}, of which {self.spent():.4g} is charged. Nothing was read."
            )

    def done(self, charge: Charge, steps_executed: int) -> None:
        """Note how many steps of a charge were really executed (empty batches count)."""
        if not math.isfinite(steps_executed) or steps_executed < 0:
            raise ValueError(f"expected a count of steps, got {steps_executed}")
        if parse_charges(self._file.lines)[1].get(charge.id) != steps_executed:
            self._file.append({"type": "done", "id": charge.id, "steps_executed": steps_executed})
