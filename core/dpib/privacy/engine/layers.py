"""One custom autograd function per layer type: its backward pass returns the input gradient and nothing else.

The weight gradient is formed per image, with the copies summed inside, and goes to the tape. Autograd is never asked
for the ordinary one: that is what module hooks cannot avoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dpib.errors import UnsupportedMechanism
from dpib.privacy.engine.gradients import Kept, Rows, Tape
from dpib.privacy.engine.kernels import Contraction, Convolution, Projection
from dpib.privacy.engine.tuning import Kernels


@dataclass(frozen=True)
class Use:
    """What a function needs to know of one layer.

    Attributes:
        names: its trainable parameters, for messages.
        tape: where per-image gradients go.
        kernels: which way they are computed.
    """

    names: str
    tape: Tape
    kernels: Kernels

    def expect_rows(self, inputs: Tensor) -> None:
        """Refuse inputs that are not one row per image and copy, without telling how many there are."""
        if inputs.ndim == 0 or len(inputs) != self.tape.n_images * self.tape.copies:
            raise UnsupportedMechanism(
                f"No gradient per record and copy reaches {self.names}: the layer sees other rows than one per image "
                "and copy, image-major."
            )

    def keep(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """Sum rows (B·K, *shape) over the copies and hand them over."""
        summed = rows.unflatten(0, (-1, self.tape.copies)).sum(1)
        self.tape.add(parameter, Kept(summed.view(-1, *parameter.shape)))

    def contract(self, parameter: nn.Parameter, shape: Contraction, inputs: Tensor, slopes: Tensor) -> None:
        """Compute the weight gradient of a convolution or projection by the kernel chosen for its shape."""
        self.tape.add(parameter, self.kernels.run(shape, inputs, slopes, self.tape.copies))


def _autocast(inputs: Tensor) -> Tensor:
    device = inputs.device.type
    return inputs.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else inputs


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, use: Use) -> Tensor:
        cast = weight.to(x.dtype)
        ctx.save_for_backward(x, cast)
        ctx.weight, ctx.bias, ctx.use = weight, bias, use
        return F.linear(x, cast, None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use: Use = ctx.use
        use.tape.expect_running()
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            use.contract(ctx.weight, Projection(tuple(weight.shape)), x, g)
        if ctx.needs_input_grad[2]:
            use.keep(ctx.bias, g.flatten(1, -2).sum(1) if g.ndim > 2 else g)
        return (g @ weight if ctx.needs_input_grad[0] else None), None, None, None


class _Conv2d(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, shape: Convolution, use: Use
    ) -> Tensor:
        cast = weight.to(x.dtype)
        ctx.save_for_backward(x, cast)
        ctx.weight, ctx.bias, ctx.shape, ctx.use = weight, bias, shape, use
        cast_bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, cast, cast_bias, shape.stride, shape.padding, shape.dilation, shape.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use: Use = ctx.use
        use.tape.expect_running()
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            use.contract(ctx.weight, ctx.shape, x, g)
        if ctx.needs_input_grad[2]:
            use.keep(ctx.bias, g.sum((2, 3)))
        return (ctx.shape.input_gradient(x, g, weight) if ctx.needs_input_grad[0] else None), None, None, None, None


_GROUPS_AT_MOST = 65_535
"""Groups in a call of torch's backward kernel: on CUDA they are a grid's second dimension, and more are an error."""


class _GroupNorm(Function):
    """Native forward and backward. The backward sees all rows as the channels of one: then it sums over none."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter, groups: int, eps: float, use: Use
    ) -> Tensor:
        n, channels = x.shape[:2]
        x = x.contiguous()
        size = x.numel() // max(n * channels, 1)
        out, mean, rstd = torch.ops.aten.native_group_norm(x, weight, bias, n, channels, size, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.weight, ctx.bias, ctx.groups, ctx.use = weight, bias, groups, use
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use: Use = ctx.use
        use.tape.expect_running()
        x, weight, mean, rstd = ctx.saved_tensors
        rows = max(1, _GROUPS_AT_MOST // ctx.groups)
        stretches = zip(*(part.split(rows) for part in (g.contiguous(), x, mean, rstd)), strict=True)
        found = [_GroupNorm._stretch(ctx, weight, *stretch) for stretch in stretches]
        dx, dweight, dbias = (_joined(parts) for parts in zip(*found, strict=True))
        if ctx.needs_input_grad[1]:
            use.keep(ctx.weight, dweight)
        if ctx.needs_input_grad[2]:
            use.keep(ctx.bias, dbias)
        return dx, None, None, None, None, None

    @staticmethod
    def _stretch(ctx: Any, weight: Tensor, g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Any, ...]:
        """Return the gradients of some rows at x, and at weight and bias (rows, channels); None for an unwanted one."""
        n, channels = x.shape[:2]
        one = (1, n * channels, *x.shape[2:])
        dx, dweight, dbias = torch.ops.aten.native_group_norm_backward(
            g.view(one), x.view(one), mean.view(1, -1), rstd.view(1, -1), weight.repeat(n),
            1, n * channels, x.numel() // (n * channels), n * ctx.groups, ctx.needs_input_grad[:3],
        )  # fmt: skip
        shapes = x.shape, (n, channels), (n, channels)
        found = zip((dx, dweight, dbias), shapes, ctx.needs_input_grad[:3], strict=True)
        return tuple(part.view(shape) if wanted else None for part, shape, wanted in found)


def _joined(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 or parts[0] is None else torch.cat(parts)


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, eps: float, use: Use) -> Tensor:
        out, mean, rstd = torch.ops.aten.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.weight, ctx.bias, ctx.use = weight, bias, use
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use: Use = ctx.use
        use.tape.expect_running()
        x, weight, mean, rstd = ctx.saved_tensors

        def keep(parameter: nn.Parameter, slopes: Tensor) -> None:
            use.keep(parameter, slopes.reshape(len(x), -1, *weight.shape).sum(1))

        if ctx.needs_input_grad[1]:
            keep(ctx.weight, g * (x - mean) * rstd)
        if ctx.needs_input_grad[2]:
            keep(ctx.bias, g)
        dx = torch.ops.aten.native_layer_norm_backward(
            g, x, weight.shape, mean, rstd, weight, None, [ctx.needs_input_grad[0], False, False]
        )[0]
        return dx, None, None, None, None


class _Embedding(Function):
    @staticmethod
    def forward(ctx: Any, weight: nn.Parameter, index: Tensor, padding_index: int | None, use: Use) -> Tensor:
        ctx.save_for_backward(index)
        ctx.weight, ctx.padding_index, ctx.use = weight, padding_index, use
        return F.embedding(index, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use: Use = ctx.use
        use.tape.expect_running()
        (index,) = ctx.saved_tensors
        n_rows, width = ctx.weight.shape
        image = torch.arange(use.tape.n_images, device=index.device).repeat_interleave(
            index.numel() // use.tape.n_images
        )
        cells, cell = torch.unique(image * n_rows + index.flatten(), return_inverse=True)
        values = g.new_zeros(len(cells), width, dtype=ctx.weight.dtype)
        values.index_add_(0, cell, g.reshape(-1, width).to(values))
        if ctx.padding_index is not None:
            values[cells % n_rows == ctx.padding_index] = 0
        use.tape.add(ctx.weight, Rows(values, cells // n_rows, cells % n_rows, use.tape.n_images, n_rows))
        return None, None, None, None


def _linear(layer: nn.Linear, use: Use, x: Tensor) -> Tensor:
    return _Linear.apply(_autocast(x), layer.weight, layer.bias, use)


def _conv2d(layer: nn.Conv2d, use: Use, x: Tensor) -> Tensor:
    padding = layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode), (0, 0)
    shape = Convolution(tuple(layer.weight.shape), layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
    return _Conv2d.apply(_autocast(x), layer.weight, layer.bias, shape, use)


def _group_norm(layer: nn.GroupNorm, use: Use, x: Tensor) -> Tensor:
    return _GroupNorm.apply(x.to(layer.weight.dtype), layer.weight, layer.bias, layer.num_groups, layer.eps, use)


def _layer_norm(layer: nn.LayerNorm, use: Use, x: Tensor) -> Tensor:
    return _LayerNorm.apply(x.to(layer.weight.dtype), layer.weight, layer.bias, layer.eps, use)


def _embedding(layer: nn.Embedding, use: Use, index: Tensor) -> Tensor:
    return _Embedding.apply(layer.weight, index, layer.padding_idx, use)


RULES: dict[type[nn.Module], Callable[[Any, Use, Tensor], Tensor]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
}
"""Layers with a rule here, by exact type: a subclass may compute something else. Everything else is Opacus' task."""


def has_rule(layer: nn.Module) -> bool:
    """Return whether the layer is one of ``RULES`` and as torch made it: nothing hooked into its weights."""
    parameters = {name for name, parameter in layer._parameters.items() if parameter is not None}
    plain = parameters <= {"weight", "bias"} and "forward" not in layer.__dict__ and not any(layer.children())
    return plain and type(layer) in RULES and not layer._forward_pre_hooks


def mixes_records(layer: nn.Module) -> str | None:
    """Return why a layer's gradient depends on other records of the batch, if it does."""
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
        return "renormalises its table by the rows that a batch uses (max_norm)"
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.scale_grad_by_freq:
        return "scales gradients by how often a batch uses a row (scale_grad_by_freq)"
    return None
