"""Fifteen small methods whose behaviour is known: four are correct, eleven have one real-world bug each.

They prove that ``dpib check`` and ``dpib audit`` can tell the difference. They come with dpib but are registered
nowhere: no entry point names them, ``dpib plugins`` never lists them, and no run can be made of them by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dpib.__about__ import __version__
from dpib.contribution import InstalledMethod
from dpib.spec import Family, MethodCard
from dpib.synthesizer import Method

__all__ = ["Control", "controls"]


@dataclass(frozen=True)
class Control(InstalledMethod):
    """A method of known behaviour.

    Attributes:
        must: what has to become of it.
        flagged_by: ids of the checks of ``dpib check`` that fail on it, all of them; none for what only ``dpib audit``
            can see.
        audited: the statistical audit has to refute it.
    """

    must: Literal["pass", "flag"] = "pass"
    flagged_by: tuple[str, ...] = ()
    audited: bool = False


def _control(
    name: str,
    place: str,
    summary: str,
    *,
    must: Literal["pass", "flag"] = "flag",
    by: tuple[str, ...] = (),
    audited: bool = False,
) -> Control:
    card = MethodCard(
        name=name, title=f"Control: {name}", summary=summary, family=Family.REFERENCE, noise_location=None
    )
    method = Method(card, implementation=f"dpib_controls.{place}")
    return Control(method, "dpib-controls", __version__, must, by, audited)


_CONTROLS = (
    _control("gaussian-mean", "correct:GaussianMean", "Noisy class means, correct.", must="pass"),
    _control("gaussian-mean-2x", "correct:DoubleNoise", "Noisy class means with twice the noise.", must="pass"),
    _control("dp-sgd-tiny", "correct:DpSgdTiny", "A template per class, trained by DP-SGD.", must="pass"),
    _control("part-means", "parts:PartMeans", "Disjoint parts, each with a private model, correct.", must="pass"),
    _control(
        "no-noise",
        "own_noise:NoNoise",
        "Draws its own noise and drops it: add() for add_().",
        by=("fresh-noise",),
        audited=True,
    ),
    _control("half-noise", "own_noise:HalfNoise", "Averages four noisy copies, pays for one.", audited=True),
    _control("fixed-seed", "own_noise:FixedSeed", "Draws its own noise from the public seed.", by=("fresh-noise",)),
    _control(
        "shuffle-as-poisson",
        "own_noise:ShuffleAsPoisson",
        "Visits shuffled batches, pays for Poisson samples.",
        by=("sampling",),
    ),
    _control(
        "unclipped",
        "own_sum:Unclipped",
        "Computes the sum itself and trusts that images are in 0..1.",
        by=("access", "sensitivity"),
        audited=True,
    ),
    _control(
        "exact-label-counts",
        "own_sum:ExactLabelCounts",
        "Divides noisy sums by the true number of records of each class.",
        by=("post-processing",),
        audited=True,
    ),
    _control(
        "actual-count-mean", "own_sum:ActualCountMean", "Releases a mean over the true number.", by=("sensitivity",)
    ),
    _control(
        "memoriser",
        "own_sum:Memoriser",
        "Keeps five training images for its sample grid.",
        by=("copies", "post-processing"),
    ),
    _control(
        "shared-warm-up",
        "parts:SharedWarmUp",
        "Starts every part's model from what one part learnt, pays for disjoint parts.",
        by=("sensitivity",),
    ),
    _control(
        "clean-argmax",
        "selection:CleanArgmax",
        "Pays for a noisy choice and uses the clean one.",
        by=("post-processing", "selection"),
    ),
    _control(
        "swallowed-exception",
        "selection:SwallowedException",
        "Goes on without noise where drawing it fails.",
        by=("failures",),
    ),
)


def controls() -> dict[str, Control]:
    """Return them by name: those that must pass first."""
    return {control.card.name: control for control in _CONTROLS}
