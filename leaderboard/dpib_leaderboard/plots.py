"""Plots as SVG text: vector pictures for pages and papers, without a plotting library. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _TOP, _BOTTOM = 52, 28, 44
_ACROSS, _DOWN = 358, 268
"""Size of the plotted area in pixels; its height grows with a long legend."""
_LINE, _CHARACTER = 15, 6.2
"""Height of a line of the legend, and a little more than the mean width of a character in it."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#5e3c99", "#666666")
"""Told apart with colour-blind eyes (Okabe and Ito), then repeated."""


@dataclass(frozen=True)
class Series:
    """One line or cloud of a plot.

    Attributes:
        points: (x, y, half-width of the interval of y) in ascending x.
        dashed: a reference or a published series.
        joined: whether a line goes through the points.
        group: series of one group share a colour; by default each is its own.
    """

    name: str
    points: Sequence[tuple[float, float, float]]
    dashed: bool = False
    joined: bool = True
    group: str = ""


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    step *= next((f for f in (0.2, 0.5, 1, 2) if (high - low) / (step * f) <= 6), 5)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def plot(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> str:
    """Return an SVG document; x is logarithmic and ticked at the values there are if they are few.

    Args:
        title: above the plot.
        x_label: with its unit; values are positive.
        y_label: with its unit.
        series: at least one point in all.
    """
    xs = sorted({x for one in series for x, _, _ in one.points})
    lows, highs = zip(*((y - e, y + e) for one in series for _, y, e in one.points), strict=True)
    low, high = min(lows), max(highs)
    margin = (high - low) * 0.05 or 1.0
    low, high = low - margin, high + margin
    start, end = math.log10(xs[0]) - 0.06, math.log10(xs[-1]) + 0.06

    right, bottom = _LEFT + _ACROSS, _TOP + max(_DOWN, len(series) * _LINE)
    width = right + 40 + round(max(len(one.name) for one in series) * _CHARACTER)
    height = bottom + _BOTTOM

    def across(x: float) -> float:
        return _LEFT + (math.log10(x) - start) / (end - start) * _ACROSS

    def down(y: float) -> float:
        return bottom - (y - low) / (high - low) * (bottom - _TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(_LEFT + right) / 2}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(12,{(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for y in _ticks(low, high):
        out.append(f'<path d="M{_LEFT} {down(y):.1f}H{right}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 5}" y="{down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    few = xs if len(xs) <= 8 else [10.0**n for n in range(math.ceil(start), math.floor(end) + 1)]
    last = -math.inf
    for x in few:
        if across(x) - last < 30:
            continue  # its number would cover the one before
        last = across(x)
        out.append(f'<text x="{across(x):.1f}" y="{bottom + 15}" text-anchor="middle">{x:.3g}</text>')
    out.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>')
    groups = list(dict.fromkeys(one.group or one.name for one in series))
    for number, one in enumerate(series):
        colour = _COLOURS[groups.index(one.group or one.name) % len(_COLOURS)]
        dash = ' stroke-dasharray="5 3"' if one.dashed else ""
        spots = [(across(x), down(y)) for x, y, _ in one.points]
        if one.joined and len(spots) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
        for (x, y), (_, value, error) in zip(spots, one.points, strict=True):
            if error:
                out.append(
                    f'<path d="M{x:.1f} {down(value - error):.1f}V{down(value + error):.1f}" stroke="{colour}"/>'
                )
            out.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" stroke="{colour}" '
                f'fill="{"white" if one.dashed else colour}"/>'
            )
        level = _TOP + 10 + number * _LINE
        out.append(f'<path d="M{right + 10} {level - 4}h18" stroke="{colour}" stroke-width="2"{dash}/>')
        out.append(f'<text x="{right + 32}" y="{level}">{escape(one.name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
