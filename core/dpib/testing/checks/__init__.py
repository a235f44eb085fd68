"""The checks of ``dpib check``, in the order they are shown."""

from __future__ import annotations

from dpib.testing.checks import account, chance, contract, replay
from dpib.testing.checks.base import Check, Finding

__all__ = ["CHECKS", "Check", "Finding"]

CHECKS: tuple[Check, ...] = (*contract.CHECKS, *replay.CHECKS, *chance.CHECKS, *account.CHECKS)
