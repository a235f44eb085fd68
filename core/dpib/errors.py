"""Every error dpib raises on purpose, with the exit code a command ends with.

::

    DpibError                     1  the thing failed
    ├─ ConfigError                2  misuse: bad spec, preset, override or argument
    │  └─ UnknownName             2  no such method, dataset, metric or track; suggests the nearest
    ├─ PluginError                3  import failure, name clash, hook mismatch
    ├─ DataError                  3  data unavailable, damaged, or not what the card says
    ├─ StorageError               3  disk full, folder not writable
    │  └─ FolderInUse             3  another process is working in a folder
    ├─ DeviceError                3  the processor or GPU asked for is not here
    ├─ IsolationError             3  this machine cannot confine code that is not trusted
    ├─ PrivacyError               1
    │  ├─ BudgetExceeded          1  a charge would pass the budget; nothing was read
    │  ├─ UnaccountedAccess       1  private data asked for outside a mechanism
    │  └─ UnsupportedMechanism    1  no sound price for this event or model
    ├─ RunError                   1  a stage failed: non-finite loss, checkpoint mismatch
    ├─ MetricError                3  a metric cannot be computed here; says what to install
    └─ RecordError                1  schema, verification, submission refused
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DpibError(Exception):
    """Base of all deliberate errors; ``str(error)`` is the message a person reads."""

    exit_code = 1


class ConfigError(DpibError):
    """A spec, preset, override or argument is wrong."""

    exit_code = 2


class UnknownName(ConfigError):
    """A name that nobody registered.

    Args:
        kind: what was looked up, e.g. ``"dataset"``.
        name: the name given.
        known: names that exist; the nearest is suggested.
        remark: what else may help where no name is near.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], remark: str = "") -> None:
        self.kind, self.name, self.known, self._remark = kind, name, sorted(known), remark
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listing = ", ".join(self.known) if self.known else "none installed"
        super().__init__(
            f"No {kind} named '{name}'.{hint} Known: {listing}.{f' {remark}' if remark and not near else ''}"
        )

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str], str]]:
        """Let workers send it: an exception is rebuilt from its message alone otherwise."""
        return type(self), (self.kind, self.name, self.known, self._remark)


class PluginError(DpibError):
    """A plugin cannot be loaded or two plugins clash."""

    exit_code = 3


class DataError(DpibError):
    """Data is missing, damaged or not what its card says."""

    exit_code = 3


class StorageError(DpibError):
    """The disk or a folder does not allow what is needed."""

    exit_code = 3


class FolderInUse(StorageError):
    """Another process holds a folder."""


class DeviceError(DpibError):
    """The device that was asked for is not on this machine."""

    exit_code = 3


class IsolationError(DpibError):
    """This machine cannot keep code that is not trusted from the network and from files."""

    exit_code = 3


class PrivacyError(DpibError):
    """A privacy rule would be broken; the operation did not happen."""


class BudgetExceeded(PrivacyError):
    """A charge would pass the budget. Raised before any data is read."""


class UnaccountedAccess(PrivacyError):
    """Private data was asked for outside a mechanism."""


class UnsupportedMechanism(PrivacyError):
    """No sound price is known for this event, mixture of events, or model."""


class RunError(DpibError):
    """A stage of a run failed."""


class MetricError(DpibError):
    """A metric cannot be computed here."""

    exit_code = 3


class RecordError(DpibError):
    """A record is malformed, does not verify, or is refused."""
