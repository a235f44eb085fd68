"""What a metric is, and what it gets to see. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from dpib.spec import Frozen, Name, TaskInfo, Track

if TYPE_CHECKING:
    from torch import Tensor

    from dpib.data.images import LabelledImages, Splits
    from dpib.progress import Reporter
    from dpib.records import Score

NO_SELECTION = "No epoch was chosen privately: the evaluation was given neither a budget nor a stored choice."
"""Why a score at a privately chosen epoch is undefined when nobody asked for a choice."""


class MetricCard(Frozen):
    """What a metric says about itself.

    Attributes:
        unit: ``"%"`` or ``""``.
        needs: what must be present, in words; empty if nothing beyond an installed dpib.
    """

    name: Name
    title: str
    summary: str
    higher_is_better: bool
    unit: str = ""
    decimals: int = 2
    source: str = ""
    needs: str = ""


class EpochBallot(Protocol):
    """Chooses one epoch of one classifier; sees each epoch once."""

    def observe(self, predict: Callable[[Tensor], Tensor]) -> None:
        """Consider the next epoch. ``predict`` maps uint8 images (B, C, H, W) to int64 labels (B,)."""

    def chosen(self) -> int:
        """Return the zero-based epoch, once every epoch was observed."""


class EpochSelector(Protocol):
    """Where chosen epochs come from: a private query in a run, the stored choice in a verification."""

    def open(self, classifier: str, n_epochs: int) -> EpochBallot:
        """Start choosing among ``n_epochs`` epochs of one classifier."""


@dataclass(frozen=True)
class EvalInputs:
    """All that metrics are computed from. Scores are not differentially private and say so where shown.

    Attributes:
        synthetic: the synthetic images and the labels they were generated for.
        splits: real images. No choice reads ``validation`` except through ``selector``; the copy test compares with
            it, as it does with ``train``.
        selector: privately (or as stored) chosen epochs; None: Noisy SenV is undefined.
        cache: folder for features and predictions, keyed by content.
        tables: folder for tables that are too long for a record; None: they are not kept.
        claimed: classifier -> epoch that a record under verification calls the best on held-out synthetic images. It
            is believed where it is as good as the best here, up to rounding (``dpib.agreement``).
    """

    synthetic: LabelledImages
    splits: Splits
    task: TaskInfo
    track: Track
    device: str
    cache: Path
    reporter: Reporter
    selector: EpochSelector | None
    tables: Path | None = None
    claimed: Mapping[str, int] = field(default_factory=dict)


class Metric(ABC):
    """A metric: a small class around a pure function."""

    card: ClassVar[MetricCard]

    @abstractmethod
    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return this metric's scores. An undefined one has ``value=None`` and a reason.

        Raises:
            MetricError: if something that has to be installed or placed is missing.
        """


@dataclass(frozen=True)
class MetricPlugin:
    """A metric as a plugin registers it: the card, and where the class is (``"package.module:Class"``)."""

    card: MetricCard
    implementation: str
