"""Public randomness: named generators derived from a run's seed. DP noise never comes from here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Seed torch's global generators, of all devices, inside the block, and restore them after."""
    if torch.accelerator.is_available():
        devices, seed = list(range(torch.accelerator.device_count())), torch.manual_seed
    else:  # torch would look for devices, and note who asked, each time: milliseconds, and this is called in every step
        devices, seed = [], torch.default_generator.manual_seed
    with torch.random.fork_rng(devices=devices):
        seed(number)
        yield


class Seeds:
    """Independent generators for everything that is not private: initialisation, order, sampling.

    Args:
        seed: the run's public seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def number(self, name: str, *indices: int) -> int:
        """Return a 63-bit seed for this name and these indices."""
        text = "/".join([str(self.seed), name, *map(str, indices)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1

    def torch(self, name: str, *indices: int) -> torch.Generator:
        """Return a CPU generator; the same name and indices give the same draws, also after a resume."""
        generator = torch.Generator()
        generator.manual_seed(self.number(name, *indices))
        return generator

    def numpy(self, name: str, *indices: int) -> np.random.Generator:
        """Return a NumPy generator for this name and these indices."""
        return np.random.default_rng(self.number(name, *indices))

    @contextmanager
    def init(self, name: str, *indices: int) -> Iterator[None]:
        """Seed torch's global generators inside the block, for module initialisation, and restore them after."""
        with seeded(self.number(name, *indices)):
            yield
