"""DP-SGD: Poisson batches, one clipped vector per record (``engine``), one noise draw per step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import TypedDict

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dpib.context import RunContext, Stateful
from dpib.data.images import LabelledImages
from dpib.errors import UnsupportedMechanism
from dpib.privacy.dpsgd_plan import DpSgdPlan, Loss
from dpib.privacy.engine.batches import PhysicalBatches, Saved, affordable
from dpib.privacy.engine.hooks import Engine
from dpib.privacy.engine.layers import mixes_records
from dpib.privacy.engine.tuning import Kernels
from dpib.privacy.events import SampledGaussian
from dpib.privacy.ledger import Charge
from dpib.privacy.noise import NoiseSource
from dpib.seeds import seeded
from dpib.spec import TaskInfo


def check_trainable(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    noise_multiplicity: int,
    task: TaskInfo,
    device: str,
) -> None:
    """Refuse what would not be clipped record by record; looks at made-up images only.

    Besides Opacus' list of layers, it is tried out whether a pass changes a parameter or a buffer of the model, whether
    the same records have the same gradient again, and whether it changes with the *other* record of a batch.

    Raises:
        UnsupportedMechanism: names the layers that mix records, the parameters without per-record gradient, or the
            parameters and buffers that do not stay as they are; or a second pass gives another gradient; or gradients
            are not finite, so that nothing can be tried out.
        RunError: if the loss has not one row per image and copy.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    problems = [str(error) for error in ModuleValidator.validate(model, strict=False)]
    problems += [f"{n} is {p.dtype}, too coarse to clip" for n, p in parameters.items() if p.dtype not in _EXACT]
    problems += [f"{n} keeps statistics of the data" for n, m in model.named_modules() if _keeps_statistics(m)]
    problems += [f"{n} {reason}" for n, m in model.named_modules() if (reason := mixes_records(m)) is not None]
    if problems:
        raise UnsupportedMechanism("DP-SGD cannot train this model: " + "; ".join(problems))
    if not parameters:
        raise UnsupportedMechanism("DP-SGD has nothing to train: no parameter requires a gradient.")
    ours = {id(parameter) for parameter in model.parameters()}
    if any(p.requires_grad and id(p) not in ours for group in optimizer.param_groups for p in group["params"]):
        raise UnsupportedMechanism("The optimizer also updates parameters outside the model; DP-SGD trains one model.")
    images, labels = _made_up(task, device)

    def probe(other: int) -> Tensor:
        pair = torch.tensor([0, other], device=device)
        engine = Engine(model, noise_multiplicity)
        return _first_of_pair(model, engine, lambda: loss(images[pair], labels[pair]))

    first, again, beside_another = probe(1), probe(1), probe(2)
    if not all(bool(gradient.isfinite().all()) for gradient in (first, again, beside_another)):
        raise UnsupportedMechanism(
            "The gradient of a record of random pixels is not finite at the initial weights: it cannot be tried out "
            "whether the model mixes records. Change the initial weights, or the function whose derivative is infinite."
        )
    if not _agree(first, again):
        raise UnsupportedMechanism(
            "The gradient of the same records is another in a second pass: the loss keeps state, or draws from a "
            "generator other than torch's own. Draw from torch's global generators, or hash the record (RecordHash)."
        )
    if not _agree(first, beside_another):
        raise UnsupportedMechanism(
            "What one record contributes depends on the others of its batch: the model or the loss mixes records."
        )


def _keeps_statistics(module: nn.Module) -> bool:
    """Return whether a layer normalises over the batch or remembers it; Opacus lets it pass if it has no weights."""
    return isinstance(module, _BatchNorm) or (isinstance(module, _InstanceNorm) and module.track_running_stats)


_EXACT = (torch.float32, torch.float64)


def _made_up(task: TaskInfo, device: str) -> tuple[Tensor, Tensor]:
    """Return three images of noise and labels, the first two alike."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, *task.shape), dtype=torch.uint8, generator=generator).to(device)
    return images, torch.tensor([0, 0, task.n_classes - 1], device=device)


def _agree(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).norm() <= 1e-3 * ours.norm())


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0), *(tensor.detach().flatten().double().cpu() for tensor in tensors)])


def _first_of_pair(model: nn.Module, engine: Engine, loss: Callable[[], Tensor]) -> Tensor:
    """Return the gradient of the first of two made-up records; undo all changes.

    Raises:
        UnsupportedMechanism: if a layer cannot be sampled, or the pass changed a parameter or a buffer of the model.
    """
    before = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
    with seeded(0):
        try:
            with engine.attached():
                engine.differentiate(loss, 2)
                found = _flat(rows[0] for rows in engine.gradients())
        except NotImplementedError as error:
            raise UnsupportedMechanism(f"DP-SGD cannot train this model: {error}") from error
    after = _tensors(model)
    same = {name for name in before.keys() & after.keys() if torch.equal(before[name], after[name])}
    if changed := sorted((before.keys() | after.keys()) - same):
        with torch.no_grad():
            for name, tensor in after.items():
                if name in before and tensor.shape == before[name].shape:
                    tensor.copy_(before[name])
        raise UnsupportedMechanism(
            f"A pass over records changes {', '.join(changed)} of the model, which would leave with it unnoised; the "
            "number of passes is private, too. Keep no state while a loss is computed."
        )
    return found


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all that leaves with a model, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class Preparation(TypedDict):
    """What was found out about a model before its first step, from made-up images alone."""

    kernels: dict[str, str]
    physical_batch_size: int
    fallbacks: list[str]


def prepare(
    model: nn.Module, loss: Loss, noise_multiplicity: int, task: TaskInfo, device: str, physical_batch_size: int | None
) -> Preparation:
    """Choose kernels for the model's shapes and, if not given, the images that a pass may have.

    Args:
        model: accepted by ``check_trainable``.
        loss: see ``Loss``.
        noise_multiplicity: K.
        task: gives the images' shape.
        device: where it will run.
        physical_batch_size: images per pass; None: as many as memory allows.
    """
    engine = Engine(model, noise_multiplicity)
    images, labels = _made_up(task, device)
    saved = Saved(model.parameters())

    def rows() -> Tensor:
        with saved:
            return loss(images[:2], labels[:2])

    _first_of_pair(model, engine, rows)
    if physical_batch_size is None:
        gradient = sum(p.numel() * p.element_size() for p in engine.parameters.values())
        physical_batch_size = affordable(saved.bytes // 2 + gradient, device)
    engine.kernels.tune(physical_batch_size)
    return {
        "kernels": engine.kernels.chosen,
        "physical_batch_size": physical_batch_size,
        "fallbacks": engine.fallbacks,
    }


def train_privately(
    model: nn.Module,
    loss: Loss,
    plan: DpSgdPlan,
    *,
    charge: Charge,
    optimizer: torch.optim.Optimizer,
    data: LabelledImages,
    noise: NoiseSource,
    context: RunContext,
    task: TaskInfo,
    physical_batch_size: int | None,
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
        task: public facts, among them N₀.
        noise: DP randomness.
        context: device, checkpoints, progress.
        physical_batch_size: images per backward pass at most; None: as many as memory allows. Halved when memory
            runs out: memory, not privacy.
        after_step: called with the step number after each update; sees the noised model only, and torch's global
            generators seeded publicly by the step, as every loop of ``RunContext.steps``.
        carry: what else changes from step to step (moving averages), saved with model and optimizer.

    Raises:
        RunError: if the loss has not one row per copy.
    """
    assert isinstance(charge.event, SampledGaussian)
    std = charge.event.noise_multiplier * plan.clipping_norm
    expected_batch_size = plan.sample_rate * task.nominal_size
    device, copies = context.device, plan.noise_multiplicity
    prepared: Preparation = context.once(
        f"{charge.label} preparation", lambda: prepare(model, loss, copies, task, device, physical_batch_size)
    )
    engine = Engine(model, copies, Kernels(prepared["kernels"]))
    parameters = list(engine.parameters.values())
    batches = PhysicalBatches(prepared["physical_batch_size"], context.reporter.note)
    if prepared["fallbacks"]:
        context.reporter.note(f"Slower per-image gradients, by Opacus itself: {', '.join(prepared['fallbacks'])}.")

    def clipped_sums(batch: Tensor, step: int, number: int) -> list[Tensor]:
        images, labels = data.images[batch].to(device), data.labels[batch].to(device)
        with noise.secret_torch("loss", charge.id, step, number):
            engine.differentiate(lambda: loss(images, labels), len(batch))
        return engine.clipped_sums(plan.clipping_norm)

    state: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "passes": batches, **carry}
    for step in context.steps(charge.label, plan.steps, state):
        sample = noise.poisson_sample(len(data), plan.sample_rate, charge.id, step)
        numbers = count()

        def work(batch: Tensor, step: int = step, numbers: Iterator[int] = numbers) -> list[Tensor]:
            return clipped_sums(batch, step, next(numbers))

        with engine.attached():
            total = batches.total(sample, [torch.zeros_like(parameter) for parameter in parameters], work)
        noisy = noise.add_gaussian(total, std, charge.id, step)
        for parameter, gradient in zip(parameters, noisy, strict=True):
            parameter.grad = gradient / expected_batch_size
        optimizer.step()
        optimizer.zero_grad()
        if after_step is not None:
            after_step(step)
