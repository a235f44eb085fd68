"""Outlines that the simulator draws: ten digits in several hands, ten garments, plain shapes. Public, drawn by hand.

A template is a list of strokes in the unit square, x to the right and y down. Drawn from general knowledge of how
digits are written and clothes are cut, from no data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

N_POINTS = 64
"""Points along the strokes of every template."""

_SPANS = 12
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Stroke:
    """One movement of the pen.

    Attributes:
        points: what it goes through.
        smooth: curved (Catmull-Rom) instead of straight between the points.
        closed: returns to its first point.
    """

    points: Points
    smooth: bool = True
    closed: bool = False

    def path(self) -> npt.NDArray[np.float64]:
        """Return the stroke as a fine polyline (n, 2)."""
        knots = np.array([*self.points, self.points[0]] if self.closed else self.points, dtype=float)
        if not self.smooth:
            return knots
        first, last = (knots[-2], knots[1]) if self.closed else (knots[0], knots[-1])
        padded = np.concatenate([first[None], knots, last[None]])
        t = np.arange(_SPANS)[:, None] / _SPANS
        spans = []
        for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
            cubic = (3 * p1 - p0 - 3 * p2 + p3) * t**3 + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (p2 - p0) * t
            spans.append(p1 + cubic / 2)
        return np.concatenate([*spans, knots[-1:]])


@dataclass(frozen=True)
class Template:
    """A glyph or silhouette.

    Attributes:
        filled: paint the inside of the strokes, which are then all closed, by the even-odd rule.
    """

    strokes: tuple[Stroke, ...]
    filled: bool = False

    def sampled(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return ``N_POINTS`` points (N, 2), evenly along the strokes, and the index (N,) of the point after each."""
        paths = [stroke.path() for stroke in self.strokes]
        lengths = [float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) for path in paths]
        ends = np.round(np.cumsum([0.0, *lengths]) / sum(lengths) * N_POINTS).astype(int)
        points, following = np.zeros((N_POINTS, 2)), np.arange(N_POINTS)
        for stroke, path, (start, stop) in zip(self.strokes, paths, pairwise(ends), strict=True):
            along = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
            at = np.linspace(0, along[-1], stop - start, endpoint=not stroke.closed)
            points[start:stop] = np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], axis=1)
            following[start : stop - 1] = np.arange(start + 1, stop)
            following[stop - 1] = start if stroke.closed else stop - 1
        return points, following


def _curve(*points: tuple[float, float]) -> Stroke:
    return Stroke(points)


def _loop(*points: tuple[float, float]) -> Stroke:
    return Stroke(points, closed=True)


def _lines(*points: tuple[float, float]) -> Stroke:
    return Stroke(points, smooth=False)


def _glyph(*strokes: Stroke) -> Template:
    return Template(strokes)


def _filled(*outlines: Points, smooth: bool = False) -> Template:
    return Template(tuple(Stroke(points, smooth, closed=True) for points in outlines), filled=True)


def _mirrored(*right: tuple[float, float]) -> Points:
    """Return an outline that is symmetrical about x = 0.5 from its right half, top to bottom."""
    return [*right, *((1 - x, y) for x, y in reversed(right))]


DIGITS: Mapping[str, tuple[Template, ...]] = MappingProxyType(
    {
        "0": (
            _glyph(_loop((0.3, 0), (0.08, 0.2), (0, 0.5), (0.08, 0.8), (0.3, 1), (0.54, 0.8), (0.6, 0.5), (0.5, 0.2))),
        ),
        "1": (
            _glyph(_lines((0.3, 0), (0.3, 1))),
            _glyph(_lines((0.1, 0.22), (0.3, 0), (0.3, 1))),
            _glyph(_lines((0.1, 0.2), (0.3, 0), (0.3, 1)), _lines((0.08, 1), (0.52, 1))),
        ),
        "2": (
            _glyph(
                _curve((0.02, 0.22), (0.14, 0.04), (0.34, 0), (0.52, 0.1), (0.54, 0.3), (0.42, 0.54), (0.2, 0.8)),
                _lines((0.2, 0.8), (0, 1)),
                _lines((0, 1), (0.64, 0.98)),
            ),
            _glyph(
                _curve(
                    (0.02, 0.2), (0.2, 0.02), (0.45, 0.05), (0.54, 0.25), (0.42, 0.55), (0.22, 0.85), (0.06, 0.97),
                    (0, 0.86), (0.12, 0.78), (0.32, 0.9), (0.64, 0.98),
                )
            ),
        ),
        "3": (
            _glyph(
                _curve((0.02, 0.12), (0.22, 0), (0.46, 0.06), (0.52, 0.22), (0.42, 0.4), (0.2, 0.47)),
                _curve((0.2, 0.47), (0.48, 0.56), (0.58, 0.75), (0.45, 0.94), (0.2, 1), (0, 0.88)),
            ),
            _glyph(
                _lines((0.02, 0.02), (0.52, 0), (0.24, 0.42)),
                _curve((0.24, 0.42), (0.5, 0.52), (0.56, 0.75), (0.42, 0.95), (0.18, 1), (0, 0.9)),
            ),
        ),
        "4": (
            _glyph(_lines((0.08, 0), (0.02, 0.52), (0.58, 0.5)), _lines((0.54, 0.04), (0.48, 1))),
            _glyph(_curve((0.06, 0.02), (0.02, 0.36), (0.2, 0.52), (0.52, 0.4)), _lines((0.56, 0), (0.5, 1))),
            _glyph(_lines((0.42, 0), (0, 0.65), (0.64, 0.65)), _lines((0.42, 0), (0.42, 1))),
        ),
        "5": (
            _glyph(
                _lines((0.56, 0), (0.12, 0.02), (0.06, 0.42)),
                _curve((0.06, 0.42), (0.3, 0.36), (0.52, 0.5), (0.56, 0.72), (0.42, 0.94), (0.18, 1), (0, 0.9)),
            ),
            _glyph(
                _curve((0.64, 0), (0.3, 0.04), (0.2, 0.16), (0.18, 0.36)),
                _curve((0.18, 0.36), (0.38, 0.46), (0.48, 0.66), (0.4, 0.9), (0.18, 1), (0, 0.92)),
            ),
        ),
        "6": (
            _glyph(
                _curve(
                    (0.45, 0), (0.22, 0.15), (0.06, 0.42), (0.02, 0.7), (0.15, 0.95), (0.38, 0.98), (0.52, 0.8),
                    (0.48, 0.6), (0.3, 0.53), (0.1, 0.64), (0.04, 0.78),
                )
            ),
            _glyph(
                _curve(
                    (0.2, 0), (0.06, 0.4), (0.04, 0.75), (0.2, 0.98), (0.4, 0.9), (0.42, 0.7), (0.26, 0.62),
                    (0.08, 0.76),
                )
            ),
        ),
        "7": (
            _glyph(_lines((0, 0.03), (0.58, 0), (0.22, 1))),
            _glyph(_lines((0, 0.03), (0.58, 0), (0.22, 1)), _lines((0.12, 0.5), (0.56, 0.46))),
            _glyph(_lines((0, 0.18), (0.03, 0.02), (0.58, 0)), _curve((0.58, 0), (0.48, 0.3), (0.4, 0.6), (0.38, 1))),
        ),
        "8": (
            _glyph(
                _loop(
                    (0.5, 0.12), (0.3, 0), (0.1, 0.1), (0.12, 0.3), (0.3, 0.47), (0.5, 0.65), (0.52, 0.88), (0.3, 1),
                    (0.08, 0.88), (0.1, 0.65), (0.3, 0.47), (0.48, 0.3),
                )
            ),
        ),
        "9": (
            _glyph(
                _loop((0.5, 0.2), (0.35, 0.02), (0.12, 0.08), (0.04, 0.3), (0.18, 0.47), (0.4, 0.4)),
                _lines((0.53, 0.1), (0.46, 1)),
            ),
            _glyph(
                _loop((0.5, 0.2), (0.35, 0.02), (0.12, 0.08), (0.04, 0.3), (0.18, 0.47), (0.4, 0.4)),
                _curve((0.52, 0.15), (0.54, 0.5), (0.44, 0.86), (0.2, 1), (0.04, 0.92)),
            ),
        ),
    }
)  # fmt: skip
"""Class name -> the ways it is written."""

_TEE = _filled(_mirrored((0.62, 0.08), (0.96, 0.24), (0.88, 0.46), (0.76, 0.38), (0.76, 0.95)))
_SWEATER = _filled(_mirrored((0.62, 0.05), (0.82, 0.14), (0.98, 0.86), (0.85, 0.92), (0.75, 0.42), (0.75, 0.95)))
_COAT = _filled(
    _mirrored((0.6, 0.02), (0.82, 0.1), (0.96, 0.86), (0.84, 0.9), (0.76, 0.42), (0.78, 1), (0.53, 1), (0.51, 0.1))
)

GARMENTS: Mapping[str, tuple[Template, ...]] = MappingProxyType(
    {
        "t - shirt / top": (_TEE, _filled(_mirrored((0.66, 0.05), (0.72, 0.3), (0.78, 0.95)))),
        "trouser": (_filled(_mirrored((0.67, 0), (0.74, 1), (0.57, 1), (0.505, 0.3))),),
        "pullover": (_SWEATER,),
        "dress": (
            _filled(_mirrored((0.6, 0), (0.62, 0.38), (0.74, 1))),
            _filled(_mirrored((0.58, 0), (0.7, 0.06), (0.78, 0.5), (0.7, 0.5), (0.64, 0.3), (0.7, 1))),
        ),
        "coat": (_COAT, _SWEATER),
        "sandal": (
            _glyph(
                _curve((0, 0.8), (0.5, 0.84), (1, 0.62)),
                _lines((0.12, 0.8), (0.35, 0.5), (0.5, 0.82)),
                _lines((0.66, 0.8), (0.9, 0.3), (0.98, 0.64)),
            ),
            _filled([(0, 0.76), (0.3, 0.6), (0.6, 0.7), (0.95, 0.35), (1, 0.7), (0.95, 0.75), (0.6, 0.82), (0, 0.84)]),
        ),
        "shirt": (_SWEATER, _TEE),
        "sneaker": (_filled([(0, 0.75), (0.02, 0.6), (0.4, 0.5), (0.65, 0.32), (0.8, 0.4), (0.97, 0.32), (1, 0.75)]),),
        "bag": (
            _filled([(0.04, 0.3), (0.96, 0.3), (0.98, 0.9), (0.02, 0.9)]),
            _filled(
                [(0.05, 0.42), (0.95, 0.42), (0.95, 0.95), (0.05, 0.95)],
                _mirrored((0.65, 0.05), (0.75, 0.41), (0.68, 0.41), (0.6, 0.12)),
            ),
        ),
        "ankle boot": (
            _filled([(0.04, 0.95), (0.1, 0.05), (0.5, 0.05), (0.56, 0.5), (0.94, 0.7), (1, 0.95)]),
            _filled([(0, 0.9), (0.06, 0.6), (0.5, 0.42), (0.6, 0.1), (0.98, 0.1), (1, 0.9)]),
        ),
    }
)
"""Class name in lower case -> silhouettes."""

PLAIN: tuple[Template, ...] = (
    _filled(
        [(0.5, 0), (0.85, 0.15), (1, 0.5), (0.85, 0.85), (0.5, 1), (0.15, 0.85), (0, 0.5), (0.15, 0.15)], smooth=True
    ),
    _filled([(0, 0), (1, 0), (1, 1), (0, 1)]),
    _filled([(0.5, 0), (1, 1), (0, 1)]),
    _filled([(0, 0.35), (1, 0.35), (1, 0.65), (0, 0.65)]),
    _glyph(_lines((0, 0.5), (1, 0.5)), _lines((0.5, 0), (0.5, 1))),
    _glyph(_loop((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5))),
)
"""Shapes for classes that nothing is known about; the votes choose among them."""
