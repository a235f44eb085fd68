"""The ways to do one step on one batch: forward, backward, clip, add to the running sum. Each returns that sum."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from bench.dpsgd.cases import Case
from opacus.grad_sample import GradSampleHooks
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleHooksFastGradientClipping
from torch import Tensor, nn

from dpib.privacy.engine.hooks import Engine

warnings.filterwarnings("ignore", message="Full backward hook is firing")

Step = Callable[[], list[Tensor]]
Batch = tuple[Tensor, ...]


def plain(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return the step without privacy: the floor."""
    return _plain(case, net, batch, autocast=False)


def _plain(case: Case, net: nn.Module, batch: Batch, autocast: bool) -> Step:
    parameters = [p for p in net.parameters() if p.requires_grad]

    def step() -> list[Tensor]:
        with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=autocast):
            losses = case.losses(net, *batch)
        (losses.sum() / case.copies).backward()
        return [p.grad for p in parameters if p.grad is not None]

    return step


def best_floor(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return the fastest step without privacy that a GPU offers: compiled, bfloat16, channels last."""
    net = net.to(memory_format=torch.channels_last)
    batch = tuple(t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in batch)
    return _plain(case, torch.compile(net), batch, autocast=True)  # type: ignore[arg-type]


def engine(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return dpib's step, tuned for its shapes."""
    return _engine(case, net, batch, clip, autocast=False)


def engine_bf16(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return dpib's step with the network in bfloat16 and channels last; norms and sums stay float32."""
    batch = tuple(t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in batch)
    return _engine(case, net.to(memory_format=torch.channels_last), batch, clip, autocast=True)


def _engine(case: Case, net: nn.Module, batch: Batch, clip: float, autocast: bool) -> Step:
    found = Engine(net, case.copies)
    total = [torch.zeros_like(p) for p in found.parameters.values()]

    def losses(part: Batch) -> Tensor:
        with torch.autocast(part[0].device.type, torch.bfloat16, enabled=autocast):
            return case.losses(net, *part)

    with found.attached():
        found.differentiate(lambda: losses(tuple(t[: 2 * case.copies] for t in batch)), 2)
    found.kernels.tune(case.images)

    def step() -> list[Tensor]:
        with found.attached():
            found.differentiate(lambda: losses(batch), len(batch[0]) // case.copies)
            for ours, theirs in zip(total, found.clipped_sums(clip), strict=True):
                ours += theirs
        return total

    return step


def _clip(gradients: list[Tensor], total: list[Tensor], clip: float) -> list[Tensor]:
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    factors = (clip / norms).clamp(max=1)
    for ours, g in zip(total, gradients, strict=True):
        ours += torch.einsum("b,b...->...", factors, g)
    return total


def opacus_hooks(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return Opacus' default: gradients of all rows, then the mean over copies."""
    hooks = GradSampleHooks(net, loss_reduction="sum")
    parameters = [p for p in net.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]

    def step() -> list[Tensor]:
        hooks.enable_hooks()
        case.losses(net, *batch).sum().backward()
        hooks.disable_hooks()
        folded = []
        for p in parameters:
            folded.append(p.grad_sample.view(-1, case.copies, *p.shape).mean(1))  # type: ignore[attr-defined]
            p.grad_sample = None  # type: ignore[attr-defined]
            p.grad = None
        return _clip(folded, total, clip)

    return step


def opacus_ghost(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return Opacus' ghost clipping, two backward passes. For K > 1 it clips rows, which is another mechanism."""
    hooks = GradSampleHooksFastGradientClipping(net, loss_reduction="sum", max_grad_norm=clip)
    parameters = [p for p in net.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]

    def step() -> list[Tensor]:
        hooks.enable_hooks()
        losses = case.losses(net, *batch)
        losses.sum().backward(retain_graph=True)
        for p in parameters:
            p.grad = None
        weighted = (hooks.get_clipping_coef() * losses).sum()
        hooks.disable_hooks()
        weighted.backward()
        for ours, p in zip(total, parameters, strict=True):
            ours += p.grad
            p.grad = None
        return total

    return step


def torch_func(case: Case, net: nn.Module, batch: Batch, clip: float) -> Step:
    """Return vmap(grad), the mean over copies inside."""
    parameters = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    total = [torch.zeros_like(p) for p in parameters.values()]

    def loss_of_one(values: dict[str, Tensor], *rows: Tensor) -> Tensor:
        return case.losses(lambda *inputs: torch.func.functional_call(net, values, inputs), *rows).mean()

    per_image = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0, 0, 0))

    def step() -> list[Tensor]:
        gradients = per_image(parameters, *(t.unflatten(0, (-1, case.copies)) for t in batch))
        return _clip(list(gradients.values()), total, clip)

    return step


VARIANTS: dict[str, Callable[[Case, nn.Module, Batch, float], Step]] = {
    "plain": plain,
    "dpib": engine,
    "opacus-hooks": opacus_hooks,
    "opacus-ghost": opacus_ghost,
    "torch.func": torch_func,
}
GPU_VARIANTS = {"best-floor": best_floor, "dpib-bf16": engine_bf16}
"""Timed on CUDA besides the others: the honest floor, and what dpib has against it."""
