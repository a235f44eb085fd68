"""dpib: the benchmark for differentially private image synthesis.

``dpib.run`` and ``dpib.results`` mirror the command line; plugins import ``dpib.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpib.__about__ import __version__

if TYPE_CHECKING:
    from dpib.query import results
    from dpib.runner import run

__all__ = ["__version__", "results", "run"]


def __getattr__(name: str) -> object:
    """Load the two entry points when first asked for: importing dpib stays instant."""
    if name == "run":
        from dpib.runner import run

        return run
    if name == "results":
        from dpib.query import results

        return results
    raise AttributeError(f"module 'dpib' has no attribute {name!r}")
