"""The dataset cards that come with dpib: a module each, with ``CARD``, or ``CARDS`` for several sizes. No torch."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from dpib.dataset_spec import DatasetSpec


def _cards(module: ModuleType) -> tuple[DatasetSpec, ...]:
    return module.CARDS if hasattr(module, "CARDS") else (module.CARD,)


CARDS: tuple[DatasetSpec, ...] = tuple(
    card
    for module in pkgutil.iter_modules(__path__)
    for card in _cards(importlib.import_module(f"{__name__}.{module.name}"))
)
"""All cards, ordered by module name."""
