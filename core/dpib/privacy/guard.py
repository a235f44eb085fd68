"""What private images refuse: everything that is no mechanism."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from dpib.errors import UnaccountedAccess

_INSTEAD = "Use noisy_sum, train or another mechanism."


class Guarded:
    """Base of what holds private images: refuses to be read like a collection, and says what to use."""

    def __iter__(self) -> Iterator[object]:
        raise UnaccountedAccess(f"Private images cannot be iterated. {_INSTEAD}")

    def __getitem__(self, index: object) -> object:
        raise UnaccountedAccess(f"Private images cannot be indexed. {_INSTEAD}")

    def __len__(self) -> int:
        raise UnaccountedAccess("The number of private images is private. Use task.nominal_size.")

    def __reduce__(self) -> str:
        raise UnaccountedAccess("Private images cannot be copied or saved.")

    if not TYPE_CHECKING:  # a type checker shall still find what is not there

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"Private images have no '{name}'. {_INSTEAD}")
