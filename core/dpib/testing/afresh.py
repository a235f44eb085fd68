"""What a run in a new process would find, without starting one: modules and torch's generator as they are at first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec
from types import ModuleType

import torch

from dpib.errors import PluginError

__all__ = ["imported_anew", "torch_at_start"]

_TORCH_AT_START = 67280421310721
"""Seed of torch's global generator in a new process: noise drawn from it unseeded is the same in every run."""


@contextmanager
def imported_anew(implementation: str) -> Iterator[None]:
    """Import the package of a dotted path, or its file, anew inside the block: what earlier runs left there is gone.

    Raises:
        PluginError: if it was not imported from anywhere, as what a script or a notebook defines.
    """
    top = implementation.partition(":")[0].partition(".")[0]

    def taken() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name == top or name.startswith(f"{top}.")]
        return {name: sys.modules.pop(name) for name in names}

    spec = sys.modules[top].__spec__
    if spec is None or spec.loader is None:
        raise PluginError(
            f"{implementation} cannot be imported anew. Put the method into a file or package of its own."
        )
    before = taken()
    try:
        sys.modules[top] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[top])
        yield
    finally:
        taken()
        sys.modules.update(before)


@contextmanager
def torch_at_start() -> Iterator[None]:
    """Put torch's global generator into the state of a new process; restore it and the number of threads after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(_TORCH_AT_START)
            yield
    finally:
        torch.set_num_threads(threads)
