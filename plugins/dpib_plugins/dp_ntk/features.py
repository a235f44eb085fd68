"""Gradients of a fixed random network as features: the empirical neural tangent kernel, with norm exactly 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dpib.api import OuterProducts


class TangentFeatures:
    """The map φ(x) = ∇_w Σ_o f_o(x) / |∇_w Σ_o f_o(x)| of a random network f with weights w.

    A linear layer with inputs a and output gradients δ has the gradient δ ⊗ (a, 1), so that a row is given by its
    factors and sums of rows are products of matrices. The last layer's gradient repeats the row (a, 1) for each of the
    O outputs; it is kept once, times √O: the same inner products and norms, and less noise to carry around.

    Args:
        n_pixels: length P of a flattened image.
        widths: of the hidden layers.
        n_outputs: O.
        rectify_last: apply ReLU before the last layer norm; the published network for colour images does not.
        generator: public randomness for w.
        device: where features are computed.

    Source:
        Yang et al., Differentially Private Neural Tangent Kernels for Privacy-Preserving Data Generation (2024),
        section 3; networks as in its published code.
    """

    def __init__(
        self,
        n_pixels: int,
        widths: Sequence[int],
        n_outputs: int,
        rectify_last: bool,
        generator: torch.Generator,
        device: str,
    ) -> None:
        sizes = [n_pixels, *widths, n_outputs]
        bounds = [1 / math.sqrt(size) for size in sizes[:-1]]  # as PyTorch initialises a linear layer
        shapes = zip(sizes[1:], sizes[:-1], bounds, strict=True)
        self._layers = [
            (_uniform((out, fan_in), bound, generator).to(device), _uniform((out,), bound, generator).to(device))
            for out, fan_in, bound in shapes
        ]
        self._rectify_last, self._n_outputs = rectify_last, n_outputs

    @torch.enable_grad()
    def factors(self, images: Tensor, differentiable: bool = False) -> list[tuple[Tensor, Tensor]]:
        """Return, layer by layer, the factors (B, P) and (B, Q) of φ(x) for float images (B, C, H, W) in 0..1."""
        *hidden, (last, _) = self._layers
        inputs = images.flatten(1).float()
        inputs = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        acts, sums = [_with_one(inputs)], []
        for index, (weight, bias) in enumerate(hidden):
            sums.append(F.linear(acts[-1][:, :-1], weight, bias))
            is_last = index == len(hidden) - 1
            act = F.relu(sums[-1]) if self._rectify_last or not is_last else sums[-1]
            acts.append(_with_one(F.layer_norm(act, act.shape[1:]) if is_last else act))
        output = acts[-1][:, :-1] @ last.sum(0)
        deltas = torch.autograd.grad(output.sum(), sums, create_graph=differentiable)
        top = math.sqrt(self._n_outputs) * acts[-1]
        pairs = [*zip(deltas, acts[:-1], strict=True), (torch.ones_like(top[:, :1]), top)]
        squares = sum(left.square().sum(1) * right.square().sum(1) for left, right in pairs)
        norm = torch.as_tensor(squares).sqrt()[:, None]
        return [(left / norm, right) for left, right in pairs]

    def of_bytes(self, images: Tensor, labels: Tensor) -> OuterProducts:  # noqa: ARG002  the form of a statistic
        """Map uint8 images (B, C, H, W) to the factors of their rows."""
        pairs = self.factors(images / 255)
        return OuterProducts(tuple((left.detach(), right.detach()) for left, right in pairs))

    def sums(self, images: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        """Return (K, D): row k is the sum of φ over float images with label k."""
        pairs = self.factors(images, differentiable=images.requires_grad)
        chosen = F.one_hot(labels, n_classes).to(images.device)
        blocks = [torch.einsum("bk,bp,bq->kpq", chosen.to(left.dtype), left, right).flatten(1) for left, right in pairs]
        return torch.cat(blocks, dim=1)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)
