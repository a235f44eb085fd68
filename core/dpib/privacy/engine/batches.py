"""How many images go through the network at once: a matter of memory, never of privacy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from dpib.errors import RunError

CPU_AT_MOST, GPU_AT_MOST = 64, 4096
"""Images per pass; more would not be faster on a CPU, and are a whole logical batch on a GPU."""
LIMIT = "DPIB_IMAGES_PER_PASS"
"""Environment variable: most images in a pass, for a machine whose memory is smaller than it says."""
_SHARE = {"cpu": 0.125, "cuda": 0.75}
"""Part of the free memory that a pass may plan with."""


class PhysicalBatches:
    """Cuts logical batches into passes, into smaller ones from the moment that memory runs out.

    Args:
        size: images per pass at most.
        notice: told when passes get smaller.
    """

    def __init__(self, size: int, notice: Callable[[str], None]) -> None:
        self.size, self._notice = _limited(size), notice

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run needs to cut as before."""
        return {"size": self.size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the size."""
        self.size = _limited(state["size"])

    def total(self, sample: Tensor, start: list[Tensor], work: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Return ``start`` plus the sum of ``work`` over the parts of a logical batch; every record counts once.

        Args:
            sample: indices (n,) of the records.
            start: tensors to add to, in place.
            work: maps indices to tensors like ``start``. What it does must not be seen but in its result.

        Raises:
            RunError: if not even one record fits.
        """
        while len(sample):
            batch = sample[: self.size]
            parts = _unless_out_of_memory(work, batch)
            if parts is None:
                torch.cuda.empty_cache()
                self._halve()
                continue
            for ours, theirs in zip(start, parts, strict=True):
                ours += theirs
            sample = sample[len(batch) :]
        return start

    def _halve(self) -> None:
        """Halve the size, never what is left of the sample: how many records that is, is private."""
        if self.size == 1:
            raise RunError(
                "There is not enough memory for the gradient of a single image. "
                "Lower the noise multiplicity, or take a smaller model or a larger machine."
            )
        self.size = (self.size + 1) // 2
        self._notice(f"Out of memory: continuing with at most {self.size} images per pass.")


def _limited(size: int) -> int:
    """Return the size, or what ``LIMIT`` allows if that is less; a setting of the machine, so public."""
    limit = os.environ.get(LIMIT, "")
    return min(size, max(1, int(limit))) if limit.isdigit() else size


def _unless_out_of_memory(work: Callable[[Tensor], list[Tensor]], batch: Tensor) -> list[Tensor] | None:
    try:
        return work(batch)
    except MemoryError:
        return None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            return None
        raise


class Saved:
    """Counts the bytes that a forward pass saves for its backward pass, parameters apart. A context manager."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._storages = {p.untyped_storage().data_ptr() for p in parameters}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor)
        self.bytes = 0

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            self._storages.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor.detach()  # a saved output that holds itself would never be freed

    def __enter__(self) -> Saved:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


def affordable(bytes_per_image: int, device: str) -> int:
    """Return how many images a pass on ``device`` may have: saved tensors and gradients of all fit into free memory."""
    kind = torch.device(device).type
    free, most = (
        (torch.cuda.mem_get_info(device)[0], GPU_AT_MOST)
        if kind == "cuda"
        else (os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), CPU_AT_MOST)
    )
    return max(1, min(most, int(_SHARE[kind] * free) // max(bytes_per_image, 1)))
