"""Ways to the weight gradient of every image, its K copies summed inside: exact all of them, fast in different places.

Inputs and slopes are (B·K, ...), image-major. T = K·h·w positions are summed for an image, p = C·kh·kw is a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dpib.privacy.engine.gradients import Deferred, Kept, PerImage

Pair = tuple[int, int]


@dataclass(frozen=True)
class Convolution:
    """Shape of a two-dimensional convolution."""

    weight: tuple[int, ...]
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def weight_gradient(self, inputs: Tensor, slopes: Tensor, images_as_groups: int = 1) -> Tensor:
        """Return the gradient summed over all rows; with n images as groups, n of them below one another."""
        shape = (images_as_groups * self.weight[0], *self.weight[1:])
        weight = inputs.new_empty(1).expand(shape)  # only its shape is read
        groups = images_as_groups * self.groups
        gradient: Tensor = torch.ops.aten.convolution_backward(
            slopes, inputs, weight, None, self.stride, self.padding, self.dilation, False, [0, 0], groups,
            [False, True, False],
        )[1]  # fmt: skip
        return gradient

    def input_gradient(self, inputs: Tensor, slopes: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient at the inputs."""
        gradient: Tensor = torch.ops.aten.convolution_backward(
            slopes, inputs, weight, None, self.stride, self.padding, self.dilation, False, [0, 0], self.groups,
            [True, False, False],
        )[0]  # fmt: skip
        return gradient

    def patches(self, inputs: Tensor) -> Tensor:
        """Return (rows, p of all groups, positions)."""
        if self.weight[2:] == (1, 1) and self.padding == (0, 0):
            return inputs[:, :, :: self.stride[0], :: self.stride[1]].flatten(2)
        if inputs.device.type == "cpu":
            return F.unfold(inputs, self.weight[2:], self.dilation, self.padding, self.stride)
        return self.windows(inputs)

    def windows(self, inputs: Tensor) -> Tensor:
        """Return what ``F.unfold`` does, by one copy: on CUDA torch unfolds row by row, a call for each."""
        (kh, kw), (sh, sw), (dh, dw) = self.weight[2:], self.stride, self.dilation
        x = F.pad(inputs, (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
        h, w = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
        n, c, y, z = x.stride()
        view = x.as_strided((*x.shape[:2], kh, kw, h, w), (n, c, dh * y, dw * z, sh * y, sw * z))
        return view.reshape(len(x), -1, h * w)

    # ---- per image: (B, *weight) ----

    def looped(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """One ordinary weight gradient per image."""
        pairs = zip(inputs.split(copies), slopes.split(copies), strict=True)
        found = inputs.new_empty(len(inputs) // copies, *self.weight)
        for row, (x, g) in zip(found, pairs, strict=True):
            row.copy_(self.weight_gradient(x, g))
        return found

    def grouped(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """One call in which every image is a group of its own."""
        n = len(inputs) // copies
        x, g = (t.unflatten(0, (n, copies)).transpose(0, 1).flatten(1, 2) for t in (inputs, slopes))
        return self.weight_gradient(x, g, images_as_groups=n).view(n, *self.weight)

    def by_row(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """One call in which every row is a group of its own, then a sum over copies: no transposed inputs."""
        n = len(inputs) // copies
        x, g = (t.flatten(0, 1)[None] for t in (inputs, slopes))
        return self.weight_gradient(x, g, images_as_groups=n * copies).view(n, copies, *self.weight).sum(1)

    def accumulated(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """Products of patches and slopes, one batched matrix product per copy, added up in place."""
        n = len(inputs) // copies
        x = self.patches(inputs).unflatten(1, (self.groups, -1)).unflatten(0, (n, copies))
        g = slopes.flatten(2).unflatten(1, (self.groups, -1)).unflatten(0, (n, copies))
        found = inputs.new_zeros(n * self.groups, g.shape[3], x.shape[3])
        for k in range(copies):
            found.baddbmm_(g[:, k].flatten(0, 1), x[:, k].flatten(0, 1).transpose(1, 2))
        return found.view(n, *self.weight)

    def unfolded(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """Products of patches and slopes, one matrix product per image and group."""
        n = len(inputs) // copies
        x = self.patches(inputs).unflatten(1, (self.groups, -1)).unflatten(0, (n, copies))
        g = slopes.flatten(2).unflatten(1, (self.groups, -1)).unflatten(0, (n, copies))
        return torch.einsum("bkgdt,bkgpt->bgdp", g, x).reshape(n, *self.weight)

    def squared_norms(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """Return |sum over t of g_t a_t'|² for every image, from the Gram matrices of slopes and patches.

        A patch is a window of the padded image, so the Gram matrix of patches is a sum of windows of the Gram matrix
        of pixels: kh·kw times fewer products. In float64, because the terms have both signs.
        """
        n = len(inputs) // copies
        kh, kw = self.weight[2:]
        h, w = slopes.shape[2:]
        x = F.pad(inputs.double(), (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
        size = (copies, *x.shape[2:])
        x = x.unflatten(0, (n, copies)).transpose(1, 2).flatten(2)
        pixels = torch.bmm(x.transpose(1, 2), x).view(n, *size, *size)
        g = slopes.double().unflatten(0, (n, copies)).transpose(1, 2).flatten(2)
        at_slopes = torch.bmm(g.transpose(1, 2), g).view(n, copies, h, w, copies, h, w)
        found = torch.zeros(n, dtype=torch.float64, device=inputs.device)
        for i in range(kh):
            rows = slice(i * self.dilation[0], i * self.dilation[0] + (h - 1) * self.stride[0] + 1, self.stride[0])
            for j in range(kw):
                cols = slice(j * self.dilation[1], j * self.dilation[1] + (w - 1) * self.stride[1] + 1, self.stride[1])
                found += (pixels[:, :, rows, cols, :, rows, cols] * at_slopes).flatten(1).sum(1)
        return found.clamp(min=0)

    def gram(self, inputs: Tensor, slopes: Tensor, copies: int) -> Deferred:
        """Norms from Gram matrices now, one weight gradient of the clipped whole later."""
        return Deferred(
            inputs,
            slopes,
            copies,
            norms=partial(self.squared_norms, copies=copies),
            contract=self.weight_gradient,
            split=partial(self.unfolded, copies=copies),
        )

    def kernels(self, inputs: tuple[int, ...], slopes: tuple[int, ...], copies: int) -> list[str]:
        """Return the kernels worth trying for one image's inputs (C, H, W) and slopes (d, h, w)."""
        positions = copies * slopes[1] * slopes[2]
        patches = positions * self.weight[1] * self.groups * self.weight[2] * self.weight[3]
        pixels = copies * (inputs[1] + 2 * self.padding[0]) * (inputs[2] + 2 * self.padding[1])
        several = copies > 1
        names = ["looped", "grouped", *(["by_row"] if several else [])]
        if patches <= _UNFOLDED_AT_MOST:
            names += ["unfolded", *(["accumulated"] if several else [])]
        if self.groups == 1 and 2 * pixels**2 < torch.Size(self.weight).numel():
            names.append("gram")
        return names

    def default(self, device: str) -> str:
        """Return the kernel of a shape too small to be worth a measurement."""
        return "grouped" if device == "cpu" and self.weight[2:] != (1, 1) else "unfolded"

    def work(self, slopes: tuple[int, ...], copies: int) -> int:
        """Return the multiply-adds for one image."""
        return copies * slopes[1] * slopes[2] * torch.Size(self.weight).numel()


_UNFOLDED_AT_MOST = 1 << 24
"""Numbers per image; more are not worth their memory."""


@dataclass(frozen=True)
class Projection:
    """Shape (d, p) of a linear layer; inputs are (B·K, ..., p)."""

    weight: tuple[int, ...]

    def _folded(self, inputs: Tensor, slopes: Tensor, copies: int) -> tuple[Tensor, Tensor]:
        n = len(inputs) // copies
        return inputs.reshape(n, -1, self.weight[1]), slopes.reshape(n, -1, self.weight[0])

    def weight_gradient(self, inputs: Tensor, slopes: Tensor) -> Tensor:
        """Return the gradient summed over all rows."""
        return slopes.flatten(0, -2).T @ inputs.flatten(0, -2)

    def batched(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """One matrix product per image over copies and positions."""
        x, g = self._folded(inputs, slopes, copies)
        return torch.bmm(g.transpose(1, 2), x)

    def squared_norms(self, inputs: Tensor, slopes: Tensor, copies: int) -> Tensor:
        """Return |sum over t of g_t a_t'|² for every image: sum over t, s of (a_t·a_s)(g_t·g_s), in float64."""
        x, g = (t.double() for t in self._folded(inputs, slopes, copies))
        if x.shape[1] == 1:  # |g a'| = |g| |a|
            return x.square().sum((1, 2)) * g.square().sum((1, 2))
        at_slopes = torch.bmm(g, g.transpose(1, 2))
        return (torch.bmm(x, x.transpose(1, 2)) * at_slopes).sum((1, 2)).clamp(min=0)

    def gram(self, inputs: Tensor, slopes: Tensor, copies: int) -> Deferred:
        """Norms from Gram matrices now, one weight gradient of the clipped whole later."""
        return Deferred(
            inputs,
            slopes,
            copies,
            norms=partial(self.squared_norms, copies=copies),
            contract=self.weight_gradient,
            split=partial(self.batched, copies=copies),
        )

    def kernels(self, inputs: tuple[int, ...], slopes: tuple[int, ...], copies: int) -> list[str]:  # noqa: ARG002
        """Return the kernels worth trying for one image's inputs (..., p) and slopes (..., d)."""
        positions = copies * torch.Size(slopes[:-1]).numel()
        return ["batched", "gram"] if 2 * positions**2 < self.weight[0] * self.weight[1] else ["batched"]

    def default(self, device: str) -> str:  # noqa: ARG002
        """Return the kernel of a shape too small to be worth a measurement."""
        return "batched"

    def work(self, slopes: tuple[int, ...], copies: int) -> int:
        """Return the multiply-adds for one image."""
        return copies * torch.Size(slopes).numel() * self.weight[1]


Contraction = Convolution | Projection


ROWS_AT_ONCE = 2048
"""Rows in a call at most: a full GPU, far from the sizes at which its libraries give up."""


def per_image(shape: Contraction, name: str, inputs: Tensor, slopes: Tensor, copies: int) -> PerImage:
    """Run the kernel ``name``, on ``ROWS_AT_ONCE`` at a time unless it only takes note."""
    if name == "gram":
        return shape.gram(inputs, slopes, copies)
    kernel: Callable[[Tensor, Tensor, int], Tensor] = getattr(shape, name)
    rows = max(1, ROWS_AT_ONCE // copies) * copies
    found = [kernel(x, g, copies) for x, g in zip(inputs.split(rows), slopes.split(rows), strict=True)]
    return Kept(found[0] if len(found) == 1 else torch.cat(found))
