"""The dataset cards that come with dpib: one module per dataset, each with one constant ``CARD``. No torch."""

from __future__ import annotations

import importlib
import pkgutil

from dpib.spec import DatasetSpec

CARDS: tuple[DatasetSpec, ...] = tuple(
    importlib.import_module(f"{__name__}.{module.name}").CARD for module in pkgutil.iter_modules(__path__)
)
"""All cards, ordered by module name."""
