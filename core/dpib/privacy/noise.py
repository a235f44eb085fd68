"""The one place where DP randomness is made: fresh entropy of the operating system, never a run's seed.

A run owns one 256-bit secret. The draw for step ``t`` of charge ``c`` is a function of (secret, c, t) alone, so a
step that is replayed after a crash draws the same sample and the same noise, and releases nothing new. The secret
lies in the run folder (mode 0600) while the run is unfinished and is deleted on completion.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpib.files import write_atomically
from dpib.seeds import seeded

SECRET_BYTES = 32
_PIECE = 1 << 16
DESCRIPTION = "Philox keyed by HMAC-SHA256 of a 256-bit secret from os.urandom"


class NoiseSource:
    """Gaussian and exponential noise, Poisson samples and draws inside losses and statistics, by charge and step.

    Args:
        secret: 32 bytes from ``os.urandom``. Only tests may choose it.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"expected a secret of {SECRET_BYTES} bytes, got {len(secret)}")
        self._secret = secret

    @classmethod
    def from_os(cls) -> NoiseSource:
        """Return a source with fresh entropy."""
        return cls(os.urandom(SECRET_BYTES))

    def _stream(self, purpose: str, charge: str, step: int, part: int = 0) -> np.random.Generator:
        address = f"{purpose}\0{charge}\0{step}\0{part}".encode()
        digest = hmac.new(self._secret, address, hashlib.sha256).digest()
        half = len(digest) // 2  # 128 bits are Philox's key, 128 more the start of its counter: 256 in all
        counter = int.from_bytes(digest[half:]) << 128
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:half]), counter=counter))

    def add_gaussian(self, exact: list[Tensor], std: float, charge: str, step: int = 0) -> list[Tensor]:
        """Return ``exact`` plus N(0, std²) on every coordinate: one release, whatever its parts.

        Args:
            exact: tensors of any shapes that are released together.
            std: noise standard deviation, > 0.
            charge: id of the ledger's charge.
            step: number of the release within the charge.

        Returns:
            Tensors of the same shapes, dtypes and devices.

        Every 65,536 numbers have a stream of their own, so that threads share the work and their count changes
        nothing. All are drawn as float64 and scaled before they are rounded (``docs/decisions/0011``).
        """
        sizes = [part.numel() for part in exact]
        exactest = np.float64 if any(part.dtype == torch.float64 for part in exact) else np.float32
        drawn = np.empty(sum(sizes), exactest)
        pieces = [drawn[start : start + _PIECE] for start in range(0, len(drawn), _PIECE)]

        def fill(number: int) -> None:
            stream = self._stream("gaussian", charge, step, number)
            pieces[number][:] = std * stream.standard_normal(len(pieces[number]))

        n_threads = min(len(pieces), torch.get_num_threads())
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads) as threads:
                list(threads.map(fill, range(len(pieces))))
        else:
            for number in range(len(pieces)):
                fill(number)
        noise = torch.from_numpy(drawn).split(sizes)
        return [part + piece.view(part.shape).to(part) for part, piece in zip(exact, noise, strict=True)]

    def add_exponential(self, exact: Tensor, scale: float, charge: str) -> Tensor:
        """Return ``exact`` plus exponential noise of mean ``scale`` on every coordinate."""
        stream = self._stream("exponential", charge, 0)
        return exact + torch.from_numpy(stream.exponential(scale, tuple(exact.shape))).to(exact)

    @contextmanager
    def secret_torch(self, purpose: str, charge: str, step: int, part: int = 0) -> Iterator[None]:
        """Seed torch's global generators from the secret inside the block, and restore them after.

        On a CPU they keep 32 bits of the seed, on CUDA all 63; see ``docs/engine.md``.

        Args:
            purpose: what is drawn for; no two purposes share draws.
            charge: id of the ledger's charge.
            step: number of the release within the charge.
            part: number of the pass within the step.
        """
        with seeded(int(self._stream(purpose, charge, step, part).integers(2**63))):
            yield

    def tag(self, *parts: bytes | memoryview) -> str:
        """Return a keyed digest (HMAC-SHA256, hex) by which only the holder of the secret recognises ``parts``."""
        code = hmac.new(self._secret, b"tag\0", hashlib.sha256)
        for part in parts:
            code.update(part)
        return code.hexdigest()

    def poisson_sample(self, n: int, sample_rate: float, charge: str, step: int) -> Tensor:
        """Return the indices (int64, ascending) of records that enter a step, each with ``sample_rate``."""
        if sample_rate >= 1:
            return torch.arange(n)
        chosen = self._stream("sampling", charge, step).random(n) < sample_rate
        return torch.from_numpy(np.flatnonzero(chosen))


_FILE = "noise.secret"
_SESSION_DIGITS = 16


def noise_of_folder(folder: Path) -> tuple[NoiseSource, str]:
    """Return a run folder's noise source and the name of its session, made with fresh entropy on first use.

    A session ends when its secret is lost; accesses of a lost session cannot be replayed, only charged anew.
    """
    path = folder / _FILE
    if not path.exists():
        content = secrets.token_hex(_SESSION_DIGITS // 2) + os.urandom(SECRET_BYTES).hex()
        write_atomically(path, lambda file: file.write(content.encode()), mode=0o600)
    content = path.read_text()
    return NoiseSource(bytes.fromhex(content[_SESSION_DIGITS:])), content[:_SESSION_DIGITS]


def forget_noise(folder: Path) -> None:
    """Delete a folder's secret. Afterwards nobody can reproduce the noise."""
    (folder / _FILE).unlink(missing_ok=True)
