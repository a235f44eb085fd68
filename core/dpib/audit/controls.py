"""Methods of known behaviour that every audit runs: if one is judged wrongly, the audit is void (privacy 8.6)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dpib
from dpib.audit.report import ControlReport
from dpib.errors import PluginError

PACKAGE = "dpib_controls"
STATISTICAL = (
    "gaussian-mean",
    "gaussian-mean-2x",
    "dp-sgd-tiny",
    "no-noise",
    "half-noise",
    "unclipped",
    "exact-label-counts",
)
"""Judged by the first game of the audit's own profile."""
COPYING = ("memoriser",)
BY_CHECK = ("fixed-seed", "actual-count-mean", "shuffle-as-poisson", "clean-argmax", "swallowed-exception")
"""Bugs that statistics do not find: ``dpib check`` judges them, each by the check of its ``flagged_by``."""


def load_controls() -> Mapping[str, Any]:
    """Return the controls by name, as ``dpib_controls.Control``.

    They are installed with dpib; a checkout that is not installed has them under ``tests/controls``.

    Raises:
        PluginError: if they are not here; an audit without controls says nothing.
    """
    checkout = Path(dpib.__file__).resolve().parents[2] / "tests" / "controls"
    if PACKAGE not in sys.modules and (checkout / PACKAGE).is_dir() and str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        raise PluginError(
            f"The controls ({PACKAGE}) are not here, and an audit without them says nothing. They come with dpib: "
            "install it again, or put the folder tests/controls of a checkout on PYTHONPATH."
        ) from error
    found: Mapping[str, Any] = package.controls()
    return found


def judged(name: str, must: str, by: str, flagged: bool, detail: str) -> ControlReport:
    """Return whether a control was judged as it must be."""
    return ControlReport.from_plain(
        {"name": name, "must": must, "by": by, "as_expected": flagged == (must == "flag"), "detail": detail}
    )


@dataclass(frozen=True)
class CheckJob:
    """``dpib check`` on one control."""

    name: str
    runs: int = 1

    def work(self) -> ControlReport:
        """Check it; judged rightly if exactly the intended checks fail."""
        from dpib.testing.suite import check_method

        control = load_controls()[self.name]
        verdict = check_method(control)
        failed = {result.id for result in verdict.with_outcome("failed")}
        intended = set(control.flagged_by)
        return ControlReport(
            name=self.name,
            must="flag",
            by="dpib check: " + ", ".join(sorted(intended)),
            as_expected=failed == intended,
            detail="failed: " + (", ".join(sorted(failed)) or "none"),
        )
