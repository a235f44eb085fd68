"""Files of network weights: where they lie, where they come from, and that nothing unchecked is ever loaded."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dpib.errors import MetricError

SILENCE_SECONDS = 20.0
"""Longest silence of a server before a download is given up."""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that are fetched once from a public address into torch's cache of checkpoints.

    Attributes:
        url: public address; its last part names the file.
        sha256: of the whole file.
    """

    url: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies: ``hub/checkpoints`` below ``TORCH_HOME``, ``~/.cache/torch`` by default."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]

    @property
    def mend(self) -> str:
        """The command that places the file by hand."""
        return f"Do: curl --create-dirs -L -o {self.path} {self.url}"

    def load(self) -> dict[str, Tensor]:
        """Return the verified state dict, fetching the file if it is not there.

        Raises:
            MetricError: if it cannot be fetched or is not the known one; names the command that places it.
        """
        if not self.path.exists():
            self._fetch()
        return load_verified(self.path, self.sha256, self.mend)

    def _fetch(self) -> None:
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            raise MetricError(f"Weights {self.path} are missing and HF_HUB_OFFLINE forbids to fetch them. {self.mend}")
        part = ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
            with os.fdopen(handle, "wb") as file, urllib.request.urlopen(self.url, timeout=SILENCE_SECONDS) as answer:
                shutil.copyfileobj(answer, file)
                expected, got = answer.headers.get("Content-Length"), file.tell()
            if expected and int(expected) != got:
                raise MetricError(f"Download of {self.url} ended after {got} of {expected} bytes. {self.mend}")
            check_digest(Path(part), self.sha256, f"Download of {self.url}", self.mend)
            Path(part).replace(self.path)
        except (OSError, http.client.HTTPException) as error:
            raise MetricError(
                f"Weights {self.path} are missing and fetching {self.url} failed: {error}. {self.mend}"
            ) from error
        finally:
            if part:
                Path(part).unlink(missing_ok=True)


def check_digest(path: Path, sha256: str, what: str, mend: str) -> bytes:
    """Return the bytes of a file whose SHA-256 is the expected one.

    Raises:
        MetricError: if the file cannot be read or has another digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MetricError(f"Cannot read weights {path}: {error.strerror}. {mend}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise MetricError(f"{what}: expected SHA-256 {sha256}, got {found}; not loaded. {mend}")
    return content


def load_verified(path: Path, sha256: str, mend: str) -> dict[str, Tensor]:
    """Return a state dict from a file whose SHA-256 is checked on the very bytes that are then loaded.

    Args:
        path: the file.
        sha256: of the whole file.
        mend: what to do if it is missing or wrong.

    Raises:
        MetricError: if the file is missing or has another digest; nothing was loaded.
    """
    content = check_digest(path, sha256, f"Weights {path}", mend)
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
