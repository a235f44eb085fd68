"""Whether files or text hold given numbers, as bytes or in decimal digits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set

import numpy as np
from torch import Tensor, float32, float64

_RUN = 4
"""Consecutive values of a tensor that are looked for as bytes."""

_DIGITS = 6
"""Digits after the point that are looked for in text."""

_HEAD = 8
"""Bytes at the start of a run by which places in a file are found."""


def holder_of(values: Iterable[Tensor], files: Mapping[str, bytes], texts: Mapping[str, str]) -> str | None:
    """Return the name of the first file or text that holds values of a tensor, or None.

    Args:
        values: floating-point tensors, of which up to 65 runs of four distinct values, as float32 and float64, and the
            first 200 values that are no whole numbers, to six digits after the point, are looked for.
        files: content by name; looked at as bytes and as text.
        texts: printed text by name.
    """
    runs: set[bytes] = set()
    numbers: set[str] = set()
    for tensor in values:
        runs.update(_runs(tensor))
        numbers.update(_numbers(tensor))
    for name, content in files.items():
        if _holds_run(content, runs) or _holds_number(content.decode("ascii", "ignore"), numbers):
            return name
    return next((name for name, text in texts.items() if _holds_number(text, numbers)), None)


def _runs(tensor: Tensor) -> Iterator[bytes]:
    if not len(_fractions(tensor)):
        return
    for dtype in (float32, float64):
        flat = tensor.detach().to(dtype).flatten().numpy()
        for start in range(0, len(flat) - _RUN + 1, max(1, len(flat) // 64)):
            run = flat[start : start + _RUN]
            if len(set(run.tolist())) == _RUN:
                yield run.tobytes()


def _fractions(tensor: Tensor) -> Tensor:
    values = tensor.detach().double().flatten()
    return values[(values.abs() > 1e-3) & (values != values.round())]


def _numbers(tensor: Tensor) -> Iterator[str]:
    for value in _fractions(tensor)[:200].tolist():
        shown = f"{abs(value):.12f}".lstrip("0")[: _DIGITS + 1].rstrip(".")
        if len(shown.strip(".0")) >= _DIGITS - 1:
            yield shown


def _holds_run(content: bytes, runs: Set[bytes]) -> bool:
    """Look for all runs at once: for their heads at every byte, then for those that have a head there as a whole."""
    by_head: dict[int, list[bytes]] = {}
    for run in runs:
        by_head.setdefault(int.from_bytes(run[:_HEAD], "little"), []).append(run)
    if not by_head:
        return False
    heads = np.array(sorted(by_head), dtype="<u8")
    for shift in range(min(_HEAD, max(0, len(content) - _HEAD + 1))):
        words = np.frombuffer(content, dtype="<u8", count=(len(content) - shift) // _HEAD, offset=shift)
        nearest = heads[heads.searchsorted(words).clip(max=len(heads) - 1)]
        for head in set(words[words == nearest].tolist()):
            if any(run in content for run in by_head[head]):
                return True
    return False


def _holds_number(text: str, numbers: Set[str]) -> bool:
    """Look for numbers where the text has digits and points only; there is little of that in files of bytes."""
    figures = "\n".join(re.findall(rf"[0-9.]{{{_DIGITS - 1},}}", text))
    return any(number in figures for number in numbers)
