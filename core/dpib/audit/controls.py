"""Methods of known behaviour that every audit runs: if one is judged wrongly, the audit is void (privacy 8.6)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
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

FailedChecks = Callable[[Any], frozenset[str]]
"""Runs ``dpib check`` on a control and returns the ids of the checks that failed."""


def load_controls() -> Mapping[str, Any]:
    """Return the thirteen controls by name, as ``dpib_controls.Control``.

    They lie under ``tests/controls`` of the source tree, which a checkout finds by itself.

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
            f"The controls ({PACKAGE}) are not here, and an audit without them says nothing. Run it from a checkout "
            "of dpib, or put its folder tests/controls on PYTHONPATH."
        ) from error
    found: Mapping[str, Any] = package.controls()
    return found


def failed_checks() -> FailedChecks | None:
    """Return how to run ``dpib check`` on a control, or None where this build has no such suite."""
    return None


def judged(name: str, must: str, by: str, flagged: bool, detail: str) -> ControlReport:
    """Return whether a control was judged as it must be."""
    return ControlReport.from_plain(
        {"name": name, "must": must, "by": by, "as_expected": flagged == (must == "flag"), "detail": detail}
    )


def by_check(controls: Mapping[str, Any], suite: FailedChecks | None) -> list[ControlReport]:
    """Return the verdicts on the controls of ``BY_CHECK``; undecided without a suite."""
    found = []
    for name in BY_CHECK:
        control = controls[name]
        expected = frozenset(control.flagged_by)
        checks = "dpib check: " + ", ".join(sorted(expected))
        if suite is None:
            undecided = ControlReport(name=name, must="flag", by=checks, as_expected=None, detail="not run")
            found.append(undecided)
            continue
        failed = suite(control)
        found.append(
            ControlReport(
                name=name,
                must="flag",
                by=checks,
                as_expected=failed == expected,
                detail="failed: " + (", ".join(sorted(failed)) or "none"),
            )
        )
    return found
