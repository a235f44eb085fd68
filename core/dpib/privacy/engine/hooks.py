"""The join with Opacus: its hooks for layers without a rule of ours, patched forward methods for those with one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn

from dpib.errors import RunError, UnsupportedMechanism
from dpib.privacy.engine.clipping import exact_float32
from dpib.privacy.engine.gradients import Kept, Tape
from dpib.privacy.engine.layers import RULES, Use, has_rule
from dpib.privacy.engine.tuning import Kernels

_SAME = 1e-3
"""Gap, relative to all rows, up to which their sum is the ordinary gradient, roundings allowed for."""


class _Hooks(GradSampleHooks):
    """Opacus' hooks on the modules that ``RULES`` do not cover; the others get a forward method of ours.

    Args:
        model: what is differentiated.
        tape: where per-image gradients go.
        kernels: how they are computed.
    """

    def __init__(self, model: nn.Module, tape: Tape, kernels: Kernels) -> None:
        self._tape, self._kernels = tape, kernels
        self._ruled: list[nn.Module] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._parameters: list[Any] = list(model.parameters())
        self.fallbacks: list[str] = []
        super().__init__(model, loss_reduction="sum")
        for module in self._ruled:
            module.forward = self._forward_of(module)
        self.fallbacks = [
            f"{self._names[module] or 'the model itself'} ({type(module).__name__})"
            for module in self.iterate_submodules(model)
        ]

    def iterate_submodules(self, module: nn.Module) -> Iterable[nn.Module]:
        """Yield the modules that Opacus shall handle, as Opacus does: what it gives to functorch goes whole."""
        if module in self._ruled:
            return
        if has_rule(module) and _trainable(module):
            self._ruled.append(module)
            return
        yield from super().iterate_submodules(module)

    def _use(self, module: nn.Module) -> Use:
        prefix = self._names[module]
        names = ", ".join(f"{prefix}.{name}".lstrip(".") for name in _trainable(module))
        return Use(names, self._tape, self._kernels)

    def _forward_of(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        use, rule, plain = self._use(module), RULES[type(module)], module.forward

        def forward(input: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return plain(input)
            use.expect_rows(input)
            return rule(module, use, input)

        return forward

    def capture_activations_hook(self, module: nn.Module, forward_input: list[Tensor], _forward_output: Tensor) -> None:
        """Refuse rows that Opacus would take for other records', and coarse ones that could not be checked."""
        if torch.is_grad_enabled():
            use, rows = self._use(module), forward_input[-1]
            use.expect_rows(rows)
            if torch.is_autocast_enabled(rows.device.type):
                raise UnsupportedMechanism(
                    f"{use.names}: a {type(module).__name__} has no rule for autocast; freeze it."
                )
        super().capture_activations_hook(module, forward_input, _forward_output)

    def capture_backprops_hook(
        self, module: nn.Module, _forward_input: Tensor, forward_output: Tensor, loss_reduction: str, batch_first: bool
    ) -> None:
        """Refuse a backward pass that is not the engine's."""
        self._tape.expect_running()
        super().capture_backprops_hook(module, _forward_input, forward_output, loss_reduction, batch_first)

    def reset(self) -> None:
        """Forget an unfinished pass: Opacus would go on counting where it broke off."""
        for module in self._names:
            for name in ("activations", "max_batch_len"):
                module.__dict__.pop(name, None)
        for parameter in self._parameters:
            parameter.grad_sample, parameter._forward_counter = None, 0
            parameter.__dict__.pop("_current_grad_sample", None)

    def cleanup(self) -> None:
        """Leave the model as it was."""
        for module in self._ruled:
            module.__dict__.pop("forward", None)
        self.reset()
        super().cleanup()


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}


class Engine:
    """Per-image gradients of a model, clipped and summed.

    Args:
        model: what is trained; parameters that require no gradient are left alone.
        copies: K, loss rows per image: their gradients are averaged before the norm.
        kernels: how weight gradients are computed; by default the same way for all shapes.

    Attributes:
        parameters: the trainable ones by name; sums come in this order.
        fallbacks: modules that Opacus' own samplers handle, as of the latest ``attached``.
    """

    def __init__(self, model: nn.Module, copies: int, kernels: Kernels | None = None) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.kernels = kernels or Kernels()
        self.fallbacks: list[str] = []
        self._model, self._tape = model, Tape(copies)
        self._hooks: _Hooks

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Capture per-image gradients inside the block; the model is its old self afterwards, in training mode.

        Raises:
            NotImplementedError: if Opacus refuses a layer (trainable, with buffers).
        """
        self._model.train()
        self._hooks = hooks = _Hooks(self._model, self._tape, self.kernels)
        self.fallbacks = hooks.fallbacks
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Full backward hook is firing")  # of Opacus' making, harmless
                yield
        finally:
            hooks.cleanup()
            self._forget(0)

    def _forget(self, n_images: int) -> None:
        self._tape.start(n_images)
        for parameter in self.parameters.values():
            parameter.grad = None

    def differentiate(self, loss: Callable[[], Tensor], n_images: int) -> None:
        """Run one forward and one backward pass inside ``attached``; the gradients wait for ``clipped_sums``.

        Args:
            loss: returns the losses (B·K,), image-major.
            n_images: B, at least 1.

        Raises:
            RunError: if the loss has not one row per image and copy.
            UnsupportedMechanism: if a trainable parameter gets no per-image gradient, or more than that.
        """
        self._forget(n_images)
        self._hooks.reset()
        rows = loss()
        if rows.shape != (n_images * self._tape.copies,):
            raise RunError(
                f"Expected one loss per image and copy ({self._tape.copies} per image), got a tensor of another shape "
                f"with {rows.ndim} dimensions."
            )
        if rows.requires_grad:
            self._tape.running = True
            try:
                with torch.autocast(rows.device.type, enabled=False):
                    # nothing outside the model gets a gradient of private data
                    (rows.sum() / self._tape.copies).backward(inputs=list(self.parameters.values()))
            finally:
                self._tape.running = False
        self._collect()

    def _collect(self) -> None:
        """Add what Opacus sampled and compare what was touched with what is trainable."""
        beside = []
        for name, parameter in self.parameters.items():
            rows: Tensor | None = parameter.grad_sample  # type: ignore[attr-defined]
            gradient, parameter.grad = parameter.grad, None
            if rows is not None:
                parameter.grad_sample = None  # type: ignore[attr-defined]
                self._tape.add(parameter, Kept(rows.unflatten(0, (-1, self._tape.copies)).sum(1)))
                unexplained = gradient is not None and bool((gradient - rows.sum(0)).norm() > _SAME * rows.norm())
            else:
                unexplained = gradient is not None
            if unexplained:
                beside.append(name)
        missed = [name for name, parameter in self.parameters.items() if parameter not in self._tape.touched]
        if missed:
            raise UnsupportedMechanism(
                f"No gradient per record and copy reaches {', '.join(missed)}, which could not be clipped. "
                "Use them through their modules, or freeze them."
            )
        if beside:
            raise UnsupportedMechanism(
                f"The gradients per record of {', '.join(beside)} do not add up to the gradient. A part comes from "
                "outside of their modules and could not be clipped, or Opacus' sampler cannot read inputs that are "
                "not contiguous. Use them through their modules only, on contiguous inputs."
            )

    def gradients(self) -> list[Tensor]:
        """Return the unclipped gradients (B, *shape) of the latest pass, by parameter, and forget them."""
        return [self._tape.take(parameter).materialise() for parameter in self.parameters.values()]

    @torch.no_grad()
    def clipped_sums(self, clipping_norm: float) -> list[Tensor]:
        """Return, per parameter, the sum over images of gradients clipped jointly to ``clipping_norm``; forget them.

        An image whose gradient is not finite, or beyond all bounds, contributes zero.
        """
        with exact_float32():
            found = self._tape.clipped_sums(clipping_norm)
        return [found[parameter] for parameter in self.parameters.values()]
