"""What every method owes the harness, private or not."""

from __future__ import annotations

import torch
from pydantic import ValidationError

from dpib import config
from dpib.errors import DpibError
from dpib.synthesizer import MethodConfig
from dpib.testing.checks.base import Check, Finding, describe, failed, finished, not_applicable, passed, undecided
from dpib.testing.lab import Lab
from dpib.testing.tiny import TASK


def _runs(lab: Lab) -> Finding:
    return finished(lab.first, "A run on tiny data ended with") or passed(f"{len(lab.first.data)} records of 8×8")


def _settings(lab: Lab) -> Finding:
    settings = lab.method.load().Config
    if not issubclass(settings, MethodConfig):
        return failed(f"Config is {settings.__name__}, which is not a MethodConfig")
    try:
        settings()
        config.resolve(lab.method.method, settings, _spec(lab))
    except (ValidationError, DpibError) as error:
        return failed(f"the defaults do not construct: {describe(error)}")
    try:
        settings.from_plain({"no_such_setting": 1})
    except ValidationError:
        return passed(f"{len(settings.model_fields)} settings, all with defaults; an unknown one is refused")
    return failed("an unknown setting is accepted in silence")


def _spec(lab: Lab):  # type: ignore[no-untyped-def]
    from dpib.spec import RunSpec

    return RunSpec(method=lab.method.card.name, dataset=TASK.dataset, epsilon=1.0, track="demo-v1")


def _images(lab: Lab) -> Finding:
    assert lab.first.run is not None
    for labels in ([0], [2] * 33, [3, 1, 0, 2, 1, 1, 0], list(range(TASK.n_classes)) * 30):
        asked = torch.tensor(labels)
        given = asked.clone()
        try:
            images = lab.first.run.synthesizer.generate(given)
        except Exception as error:  # noqa: BLE001  a method may raise anything
            return failed(f"generate() of {len(labels)} labels: {describe(error)}")
        if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
            return failed(f"generate() returned {getattr(images, 'dtype', type(images).__name__)}, not uint8")
        if tuple(images.shape) != (len(labels), *TASK.shape):
            return failed(f"{len(labels)} labels gave {tuple(images.shape)}, not {(len(labels), *TASK.shape)}")
        if not torch.equal(given, asked):
            return failed("generate() changed the labels it was given")
    return passed("uint8 in shape for 1, 33, 7 and 120 labels, also of one class")


def _labels(lab: Lab) -> Finding:
    assert lab.first.run is not None
    if not lab.first.charges:
        return not_applicable("the ledger is empty: the method knows no classes")
    zeros, ones = (lab.first.run.synthesizer.generate(torch.full((16,), label)) for label in (0, 1))
    if torch.equal(zeros, ones):
        return failed("16 images of class 0 are the same bytes as 16 images of class 1")
    return passed("images of two classes differ")


def _repeatable(lab: Lab) -> Finding:
    assert lab.first.run is not None
    labels = torch.arange(24) % TASK.n_classes
    once, again = (lab.first.run.synthesizer.generate(labels) for _ in range(2))
    if not torch.equal(once, again):
        return failed("generate() called twice with the same labels gives different images")
    problem = finished(lab.repeated, "A second run ended with")
    if problem:
        return problem
    if torch.equal(lab.first.images, lab.repeated.images):
        return passed("two runs with one seed and one noise give the same bytes")
    if lab.declared:
        return undecided("the images of two runs differ; the author's own noise may be why")
    return failed("two runs with the same data, seed and noise give different images")


def _instances(lab: Lab) -> Finding:
    assert lab.first.run is not None
    labels = lab.first.run.released.labels
    before = lab.first.images
    problem = finished(lab.renewed, "A run with fresh noise ended with")
    if problem:
        return problem
    if not torch.equal(lab.first.run.synthesizer.generate(labels), before):
        return failed("after another instance was fitted, an earlier one generates other images")
    return passed("an instance generates the same images after others were fitted")


CHECKS = (
    Check(
        "runs",
        "contract",
        "The method runs on tiny data through the real harness.",
        "Nothing can be said about code that does not run.",
        "Run it with your own data first; give it a preset [variant.tiny] if its demo preset is too large.",
        _runs,
        privacy=False,
    ),
    Check(
        "settings",
        "contract",
        "Settings construct from their defaults and refuse unknown keys.",
        "A misspelt setting that is ignored makes a record say what was not done.",
        "Derive Config from MethodConfig; give every field a default; do not loosen its model_config.",
        _settings,
        privacy=False,
    ),
    Check(
        "images",
        "contract",
        "generate() returns one uint8 image of the task's shape for every label, however many.",
        "Scores compare what is stored; a wrong shape or range is a wrong score.",
        "Clamp to 0..255, round, convert to uint8, and generate in batches of any size.",
        _images,
        privacy=False,
    ),
    Check(
        "labels",
        "contract",
        "The images depend on the labels asked for.",
        "Utility is measured by training on the pairs.",
        "Use the labels given to generate(); do not draw your own.",
        _labels,
        privacy=False,
    ),
    Check(
        "repeatable",
        "contract",
        "The same data, seed and noise give the same images.",
        "Reviews repeat runs; a resumed run must not release anything a second time.",
        "Take all public randomness from context.seeds, also in generate(); never from time or global generators.",
        _repeatable,
        privacy=False,
    ),
    Check(
        "instances",
        "contract",
        "Two instances in one process share no state.",
        "What one run learnt from private data would flow into another.",
        "Keep everything on self; no module-level caches of what was fitted.",
        _instances,
        privacy=False,
    ),
)
