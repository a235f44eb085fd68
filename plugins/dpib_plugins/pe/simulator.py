"""An image generator without weights: hand-drawn outlines, bent, slanted, inked and shaded by random parameters.

Every parameter is a standard normal number u, so that a variation of degree d is √(1-d²)·u + d·N(0, 1): degree 0
changes nothing, degree 1 is a new sample, and random samples stay random samples under any variation.

Source:
    The idea of simulators as generators: Lin, Baltrušaitis, Yekhanin, Differentially Private Synthetic Data via
    APIs 3: Using Simulators Instead of Foundation Model (2025). Its text renderer needs a folder of fonts.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from dpib_plugins.pe.protocol import Samples
from dpib_plugins.pe.shapes import DIGITS, GARMENTS, PLAIN

_AT_ONCE = 64
"""Images rendered together: their distances stay in a CPU's cache."""

_GRID = 9  # control points of the free-form deformation, 3 x 3


class Simulator:
    """Draws classes named like digits or garments as such, all others as plain shapes of any colour.

    Args:
        classes: names in label order.
        shape: (channels, height, width) of images.
        glyph_size: longest side of a drawing before chance moves it, as a share of the image's side.
        device: where images are rendered; parameters are drawn on the CPU.
    """

    def __init__(self, classes: tuple[str, ...], shape: tuple[int, int, int], glyph_size: float, device: str) -> None:
        names = [name.lower() for name in classes]
        known = [DIGITS.get(name) or GARMENTS.get(name) for name in names]
        sets = [templates or PLAIN for templates in known]
        self._first = torch.tensor([0, *accumulate(len(templates) for templates in sets)])
        templates = [template for one in sets for template in one]
        sampled = [template.sampled() for template in templates]
        points = torch.from_numpy(np.stack([points for points, _ in sampled])).float()
        low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
        self._bending = _bernstein((points - low) / (high - low).clamp(min=0.05)).to(device)
        self._points = ((points - (low + high) / 2) * 2 / (high - low).amax(2, keepdim=True)).to(device)
        self._following = torch.from_numpy(np.stack([following for _, following in sampled])).to(device)
        self._filled = torch.tensor([template.filled for template in templates], device=device)
        digits, on_black = (all(name in known for name in names) for known in (DIGITS, {**DIGITS, **GARMENTS}))
        self._white_on_black, self._dark_ground = digits, on_black
        self._slant, self._bend = (0.25, 0.2) if digits else (0.06, 0.12)  # hands differ more than cuts of clothes
        self._shape, self._glyph_size, self._device = shape, glyph_size, device
        widths = (6, 2 * _GRID, 3, shape[0], shape[0], 2, 4)
        self._slices = [slice(start, stop) for start, stop in pairwise(accumulate(widths, initial=1))]
        self.n_parameters = sum(widths)

    def random(self, labels: Tensor, generator: torch.Generator) -> Samples:
        """Return new samples; see ``ImageApi``."""
        chosen = self._choose(labels, generator)
        return self._drawn(torch.cat([chosen, torch.randn(len(labels), self.n_parameters, generator=generator)], 1))

    def variation(self, samples: Samples, labels: Tensor, degree: float, generator: torch.Generator) -> Samples:
        """Return variations; see ``ImageApi``. The outline is drawn anew with probability ``degree``²."""
        fresh = torch.randn(len(labels), self.n_parameters, generator=generator)
        anew = torch.rand(len(labels), 1, generator=generator) < degree**2
        chosen = torch.where(anew, self._choose(labels, generator), samples.codes[:, :1])
        numbers = math.sqrt(1 - degree**2) * samples.codes[:, 1:] + degree * fresh
        return self._drawn(torch.cat([chosen, numbers], dim=1))

    def _choose(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        first, count = self._first[labels], self._first[labels + 1] - self._first[labels]
        share = torch.rand(len(labels), generator=generator)
        return (first + (share * count).long().clamp(max=count - 1)).float()[:, None]

    @torch.no_grad()
    def _drawn(self, codes: Tensor) -> Samples:
        empty = torch.zeros((0, *self._shape), dtype=torch.uint8)
        return Samples(torch.cat([empty, *(self._render(part) for part in codes.split(_AT_ONCE) if len(part))]), codes)

    def _render(self, codes: Tensor) -> Tensor:
        """Return uint8 (B, C, H, W) for parameters (B, 1 + D)."""
        codes = codes.to(self._device)
        template = codes[:, 0].long()
        placing, bending, pen, ink, ground, gradient, texture = (codes[:, part] for part in self._slices)
        points = self._placed(template, placing, bending)
        _, height, width = self._shape
        y, x = (((torch.arange(side, device=self._device) + 0.5) * 2 / side - 1) for side in (height, width))
        pixels = torch.cartesian_prod(y, x).flip(1)
        distance = torch.cdist(pixels.expand(len(points), -1, -1), points).amin(2)
        inside = self._filled[template, None] & _inside(points, self._following[template], y, x)
        half = 0.1 * (0.3 * pen[:, :1]).exp() * torch.where(self._filled[template, None], 0.3, 1.0)
        edge = 2 / width * (0.3 * pen[:, 1:2]).exp()
        cover = ((half - torch.where(inside, -distance, distance)) / edge + 0.5).clamp(0, 1)[:, None]
        shading = 0.25 * (gradient @ pixels.T) + _waves(texture, pixels)
        if self._white_on_black:
            full, shading = 1 - 0.15 * pen[:, 2].abs()[:, None, None], shading.new_zeros(1)
            front, back = full.expand(-1, self._shape[0], -1), full.new_zeros(1)
        else:
            front = 0.15 + 0.85 * torch.special.ndtr(ink)[:, :, None]
            back = front.new_zeros(1) if self._dark_ground else torch.special.ndtr(ground)[:, :, None]
            shading = shading[:, None]
        image = (back + (front * (1 + shading) - back) * cover).clamp(0, 1)
        return (image * 255).round().to(torch.uint8).view(-1, *self._shape).cpu()

    def _placed(self, template: Tensor, placing: Tensor, bending: Tensor) -> Tensor:
        """Return the bent outlines (B, N, 2) in -1..1, scaled to the size of a drawing and centred, then moved."""
        points = self._points[template] + self._bend * self._bending[template] @ bending.view(-1, _GRID, 2)
        turn, slant, aspect, size, *shift = placing.unbind(1)
        turn, slant, aspect = 0.1 * turn, self._slant * slant, (0.15 * aspect).exp()
        x, y = points.unbind(2)
        x = (x - slant[:, None] * y) * aspect[:, None]
        cos, sin = turn.cos()[:, None], turn.sin()[:, None]
        points = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=2)
        longest = (points.amax(1) - points.amin(1)).amax(1)
        scale = 2 * self._glyph_size * (0.06 * size).exp() / longest.clamp(min=1e-3)
        centred = (points - points.mean(1, keepdim=True)) * scale[:, None, None]
        return centred + 0.04 * torch.stack(shift, dim=1)[:, None]


def _bernstein(points: Tensor) -> Tensor:
    """Return the weights (..., 9) of 3 x 3 control points of a quadratic free-form deformation of the unit square."""
    x, y = ([(1 - t) ** 2, 2 * t * (1 - t), t**2] for t in points.unbind(-1))
    return torch.stack([a * b for a in x for b in y], dim=-1)


def _inside(points: Tensor, following: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return bool (B, H · W): whether a ray to the right crosses the outline an odd number of times."""
    end = points.gather(1, following[:, :, None].expand(-1, -1, 2))
    (ax, ay), (bx, by) = points.unbind(2), end.unbind(2)
    rows = y[None, :, None]
    crosses = (ay[:, None] > rows) != (by[:, None] > rows)
    rise = torch.where(crosses, (by - ay)[:, None], 1.0)
    at = ax[:, None] + (rows - ay[:, None]) / rise * (bx - ax)[:, None]
    right = crosses[:, :, None] & (at[:, :, None] > x[None, None, :, None])
    return (right.sum(3) % 2 == 1).flatten(1)


def _waves(texture: Tensor, pixels: Tensor) -> Tensor:
    """Return stripes (B, P) of random strength, frequency, direction and phase."""
    strength, frequency, direction, phase = texture[:, :, None].unbind(1)
    angle = math.pi * torch.special.ndtr(direction)
    along = pixels[:, 0] * angle.cos() + pixels[:, 1] * angle.sin()
    return 0.3 * strength.clamp(-2, 2) * torch.sin(6 * frequency.exp() * along + 2 * phase)
