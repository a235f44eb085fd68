"""DP-SGD: Poisson batches, per-record gradients by Opacus, one clipped vector per record, one noise draw per step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.validators import ModuleValidator
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dpib.context import RunContext, Stateful
from dpib.data.images import LabelledImages
from dpib.errors import RunError, UnsupportedMechanism
from dpib.privacy.events import SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.noise import NoiseSource
from dpib.spec import Frozen, TaskInfo

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps images uint8 (B, C, H, W) and labels int64 (B,) to losses (B·K,), image-major: row b·K + k is copy k of b."""


class DpSgdPlan(Frozen):
    """What DP-SGD will do, fixed before it sees data.

    Attributes:
        steps: noisy updates, those on empty batches included.
        sample_rate: probability q with which each record enters a step.
        clipping_norm: L2 bound C on one record's gradient.
        noise_multiplier: noise standard deviation over C; None: the smallest that fits the remaining budget.
        noise_multiplicity: K, loss rows per record; their gradients are averaged *before* clipping, so one record
            still contributes one vector of norm at most C (Dockhorn et al. 2023, section 3.2).
    """

    steps: int = Field(ge=1)
    sample_rate: float = Field(gt=0, le=1)
    clipping_norm: float = Field(gt=0)
    noise_multiplier: float | None = Field(default=None, gt=0)
    noise_multiplicity: int = Field(default=1, ge=1)


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _expect_one_row_per_copy(rows: Tensor, n_records: int, noise_multiplicity: int) -> None:
    if rows.shape != (n_records * noise_multiplicity,):
        raise RunError(
            f"Expected one loss per image and copy ({noise_multiplicity} per image), got a tensor of another shape "
            f"with {rows.ndim} dimensions."
        )


@contextmanager
def _per_record_gradients(model: nn.Module) -> Iterator[None]:
    model.train()
    hooks = GradSampleHooks(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")  # of Opacus' making, harmless
            yield
    finally:
        hooks.cleanup()


def check_trainable(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    noise_multiplicity: int,
    task: TaskInfo,
    device: str,
) -> None:
    """Refuse what would not be clipped record by record; looks at made-up images only.

    Besides Opacus' list of layers, it is tried out whether a record's gradient or a buffer of the model changes with
    the *other* record of a batch. That cannot be told of a loss that draws from a generator other than torch's own.

    Raises:
        UnsupportedMechanism: names the layers that mix records, or the parameters without per-record gradient.
        RunError: if the loss has not one row per image and copy.
    """
    parameters = _trainable(model)
    problems = [str(error) for error in ModuleValidator.validate(model, strict=False)]
    problems += [f"{n} is {p.dtype}, too coarse to clip" for n, p in parameters.items() if p.dtype not in _EXACT]
    problems += [f"{n} keeps statistics of the data" for n, m in model.named_modules() if _keeps_statistics(m)]
    if problems:
        raise UnsupportedMechanism("DP-SGD cannot train this model: " + "; ".join(problems))
    if not parameters:
        raise UnsupportedMechanism("DP-SGD has nothing to train: no parameter requires a gradient.")
    ours = {id(parameter) for parameter in model.parameters()}
    if any(p.requires_grad and id(p) not in ours for group in optimizer.param_groups for p in group["params"]):
        raise UnsupportedMechanism("The optimizer also updates parameters outside the model; DP-SGD trains one model.")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, *task.shape), dtype=torch.uint8, generator=generator).to(device)
    labels = torch.tensor([0, 0, task.n_classes - 1], device=device)

    def probe(other: int) -> tuple[Tensor, Tensor]:
        pair = torch.tensor([0, other], device=device)
        return _first_of_pair(model, parameters, loss, images[pair], labels[pair], noise_multiplicity)

    first, again, beside_another = probe(1), probe(1), probe(2)
    if _agree(first, again) and not _agree(first, beside_another):
        raise UnsupportedMechanism(
            "What one record contributes depends on the others of its batch: the model or the loss mixes records, or "
            "a buffer of the model follows the data."
        )


def _keeps_statistics(module: nn.Module) -> bool:
    """Return whether a layer normalises over the batch or remembers it; Opacus lets it pass if it has no weights."""
    return isinstance(module, _BatchNorm) or (isinstance(module, _InstanceNorm) and module.track_running_stats)


_EXACT = (torch.float32, torch.float64)
_HOPELESS = 1e30
"""Gradients this many times longer than the bound count as not finite: scaling them down would underflow."""


def _agree(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return all(bool((a - b).norm() <= 1e-3 * a.norm()) for a, b in zip(ours, theirs, strict=True))


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0), *(tensor.detach().flatten().double().cpu() for tensor in tensors)])


def _first_of_pair(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    loss: Loss,
    images: Tensor,
    labels: Tensor,
    noise_multiplicity: int,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the first of two made-up records, and the model's buffers after it; undo all changes."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            with _per_record_gradients(model):
                rows = loss(images, labels)
                _expect_one_row_per_copy(rows, 2, noise_multiplicity)
                if rows.requires_grad:
                    rows.sum().backward(inputs=list(parameters.values()))
                samples = {name: getattr(p, "grad_sample", None) for name, p in parameters.items()}
        except NotImplementedError as error:
            raise UnsupportedMechanism(f"DP-SGD cannot train this model: {error}") from error
    missed = [name for name, sample in samples.items() if sample is None or len(sample) != 2 * noise_multiplicity]
    if missed:
        raise UnsupportedMechanism(
            f"No gradient per record and copy reaches {', '.join(missed)}, which could not be clipped. "
            "Use them through their modules, or freeze them."
        )
    found = _flat(sample[:noise_multiplicity].mean(0) for sample in samples.values() if sample is not None)
    changed = _flat(buffer for _, buffer in model.named_buffers())
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    for parameter in parameters.values():
        parameter.grad = None
    return found, changed


def clipped_gradient_sum(
    parameters: list[nn.Parameter], n_records: int, noise_multiplicity: int, clipping_norm: float
) -> list[Tensor]:
    """Return, per parameter, the sum over records of gradients clipped jointly to ``clipping_norm``.

    Reads and clears ``grad_sample`` (B·K, *shape). The K rows of a record are averaged first. A record whose
    gradient is not finite, or beyond all bounds, contributes zero.
    """
    folded = []
    for parameter in parameters:
        rows: Tensor | None = parameter.grad_sample  # type: ignore[attr-defined]
        if rows is None:
            raise UnsupportedMechanism("A trainable parameter got no per-record gradient in this step; freeze it.")
        folded.append(rows.view(n_records, noise_multiplicity, *parameter.shape).mean(1))
        parameter.grad_sample = None  # type: ignore[attr-defined]
    squares = [rows.flatten(1).double().pow(2).sum(1) for rows in folded]
    norms = torch.stack(squares).sum(0).sqrt()
    finite = norms < clipping_norm * _HOPELESS  # false for NaN
    factors = torch.where(finite, clipping_norm / norms.clamp(min=clipping_norm), 0.0)
    sums = []
    for rows in folded:
        rows[~finite] = 0
        sums.append(torch.einsum("b,b...->...", factors.to(rows), rows))
    return sums


def train_privately(
    model: nn.Module,
    loss: Loss,
    plan: DpSgdPlan,
    *,
    charge: Charge,
    optimizer: torch.optim.Optimizer,
    data: LabelledImages,
    nominal_size: int,
    noise: NoiseSource,
    context: RunContext,
    physical_batch_size: int,
    after_step: Callable[[int], None] | None,
    carry: Mapping[str, Stateful],
) -> None:
    """Run ``plan.steps`` noisy updates of ``model``; call through ``PrivateDataset.train``, which charges first.

    Each step draws its Poisson sample, sums the clipped per-record gradients in physical batches, adds
    N(0, (σC)²) once, divides by the constant q·N₀ and lets ``optimizer`` step. An empty sample is a step too.

    Args:
        model: what is trained; parameters that require no gradient stay as they are.
        loss: see ``Loss``.
        plan: steps, sample rate, clipping norm, noise multiplicity.
        charge: holds the noise multiplier and addresses the noise.
        optimizer: applies the noisy mean gradient.
        data: the private records.
        nominal_size: N₀.
        noise: DP randomness.
        context: device, checkpoints, progress.
        physical_batch_size: images per backward pass: memory, not privacy.
        after_step: called with the step number after each update; sees the noised model only.
        carry: what else changes from step to step (moving averages), saved with model and optimizer.

    Raises:
        RunError: if the loss has not one row per copy.
    """
    assert isinstance(charge.event, SampledGaussian)
    parameters = list(_trainable(model).values())
    std = charge.event.noise_multiplier * plan.clipping_norm
    expected_batch_size = plan.sample_rate * nominal_size
    state: dict[str, Stateful] = {"model": model, "optimizer": optimizer, **carry}
    for step in context.steps(charge.label, plan.steps, state):
        sample = noise.poisson_sample(len(data), plan.sample_rate, charge.id, step)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        with _per_record_gradients(model):
            for batch in sample.split(physical_batch_size):
                if not len(batch):
                    continue
                rows = loss(data.images[batch].to(context.device), data.labels[batch].to(context.device))
                _expect_one_row_per_copy(rows, len(batch), plan.noise_multiplicity)
                rows.sum().backward(inputs=parameters)  # nothing outside the model gets a gradient of private data
                part = clipped_gradient_sum(parameters, len(batch), plan.noise_multiplicity, plan.clipping_norm)
                total = [ours + theirs for ours, theirs in zip(total, part, strict=True)]
        noisy = noise.add_gaussian(total, std, charge.id, step)
        for parameter, gradient in zip(parameters, noisy, strict=True):
            parameter.grad = gradient / expected_batch_size
        optimizer.step()
        optimizer.zero_grad()
        if after_step is not None:
            after_step(step)
