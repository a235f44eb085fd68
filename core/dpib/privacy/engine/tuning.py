"""Which kernel computes the weight gradient of which shape: timed once, on made-up numbers of that shape.

Times depend on the machine, and kernels agree only up to rounding. So a run keeps its choices: replayed after a crash,
on a CPU, it computes the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dpib.privacy.engine.clipping import exact_float32
from dpib.privacy.engine.gradients import PerImage
from dpib.privacy.engine.kernels import ROWS_AT_ONCE, Contraction, per_image

WORTH_TIMING = 1_000_000
"""Multiply-adds per image from which a shape is timed."""
_ROWS = 64
_IMAGES = 8
_ENOUGH = 1 << 28
"""Multiply-adds of a timed call on a CPU, as far as ``_ROWS`` allows: with too few, calls cost more than their work."""
_HOPELESSLY_SLOW = 2.5
_LONG = 0.1
"""Seconds from which one more call tells enough."""


@dataclass(frozen=True)
class Site:
    """A layer shape as met in a pass: everything its kernels' speed depends on but the number of images."""

    shape: Contraction
    inputs: tuple[int, ...]
    slopes: tuple[int, ...]
    copies: int
    dtype: torch.dtype
    device: str
    channels_last: bool

    @property
    def key(self) -> str:
        """Name in a table of choices."""
        return _name(self)

    @property
    def default(self) -> str:
        """The kernel of a shape that was not timed."""
        return self.shape.default(self.device)


@cache
def _name(site: Site) -> str:
    return repr(site)


class Kernels:
    """A table of choices, and the shapes met while it was used.

    Args:
        chosen: kernel by ``Site.key``; a shape that is missing gets its default.
    """

    def __init__(self, chosen: dict[str, str] | None = None) -> None:
        self.chosen = dict(chosen or {})
        self.met: dict[str, Site] = {}

    def run(self, shape: Contraction, inputs: Tensor, slopes: Tensor, copies: int) -> PerImage:
        """Compute the gradients of one use of a layer."""
        four = inputs.ndim == 4
        layout = four and inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
        site = Site(
            shape, tuple(inputs.shape[1:]), tuple(slopes.shape[1:]), copies, inputs.dtype, inputs.device.type, layout
        )
        self.met[site.key] = site
        return per_image(shape, self.chosen.get(site.key, site.default), inputs, slopes, copies)

    def tune(self, n_images: int) -> None:
        """Choose a kernel for every shape met so far, for passes of up to ``n_images``."""
        for key, site in self.met.items():
            self.chosen[key] = _fastest(site, n_images)


_TIMED: dict[tuple[str, int, int], str] = {}
"""Choices of this process by shape, images and threads, so that a shape is timed once and two runs agree."""


def _fastest(site: Site, n_images: int) -> str:
    names = site.shape.kernels(site.inputs, site.slopes, site.copies)
    work = site.shape.work(site.slopes, site.copies)
    if len(names) == 1 or work < WORTH_TIMING:
        return site.default
    if site.device == "cpu":
        n = max(1, min(n_images, max(_IMAGES, _ENOUGH // work), _ROWS // site.copies))
    else:  # a full card, where a call per image shows what it costs
        n = max(1, min(n_images, ROWS_AT_ONCE // site.copies))
    address = (site.key, n, torch.get_num_threads())
    if address not in _TIMED:
        _TIMED[address] = _race(site, names, n)
    return _TIMED[address]


def _race(site: Site, names: list[str], n: int) -> str:
    inputs, slopes = (
        torch.randn((n * site.copies, *shape), device=site.device, generator=_generator(site.device)).to(site.dtype)
        for shape in (site.inputs, site.slopes)
    )
    if site.channels_last:
        inputs, slopes = (t.contiguous(memory_format=torch.channels_last) for t in (inputs, slopes))
    factors = torch.full((n,), 0.5, dtype=torch.float64, device=site.device)

    def once(name: str) -> Callable[[], object]:
        def work() -> None:
            part = per_image(site.shape, name, inputs, slopes, site.copies)
            with exact_float32():
                part.squares(1.0)
                part.weighted_sum(factors)

        return work

    first = {name: _seconds(once(name), site.device) for name in names}
    limit = _HOPELESSLY_SLOW * min(first.values())
    contenders = [name for name in names if first[name] <= limit]
    repeats = 1 if min(first.values()) > _LONG else 3
    best = {name: min(_seconds(once(name), site.device) for _ in range(repeats)) for name in contenders}
    return min(best, key=lambda name: best[name])


def _generator(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _seconds(work: Callable[[], object], device: str) -> float:
    """Return the time of one call: of the processor, as machines are shared, or of the GPU; infinite if too large."""
    clock, finish = (time.perf_counter, torch.cuda.synchronize) if device == "cuda" else (time.process_time, int)
    finish()
    start = clock()
    try:
        work()
        finish()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return math.inf
    return clock() - start
