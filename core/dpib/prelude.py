"""What a prelude implements: a private query whose release gives images to learn from first. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dpib.spec import Frozen, Name, TaskInfo
from dpib.synthesizer import MethodConfig

if TYPE_CHECKING:
    from dpib.context import RunContext
    from dpib.data.images import PublicDataset
    from dpib.privacy.private import PrivateDataset

Anchor = Literal["before-pretraining", "before-fine-tuning"]


class PreludeCard(Frozen):
    """What a prelude says about itself, apart from its code.

    Attributes:
        anchor: ``before-pretraining``: what it returns takes the place of the public images. ``before-fine-tuning``:
            what it returns is learnt after them (``Synthesizer.warm_up``).
        public_data: whether it needs public images.
        deviations: where this implementation departs from paper and published code, and why.
    """

    name: Name
    title: str
    summary: str
    anchor: Anchor
    public_data: Literal["unused", "required"] = "unused"
    paper: str = ""
    year: int | None = None
    bibtex: str = ""
    deviations: tuple[str, ...] = ()


class Prelude(ABC):
    """A step before a method's own. The harness calls ``prepare`` (if there is public data), then ``run``.

    Noise multipliers are fixed by its configuration: the method that follows takes what is left of the budget.

    Args:
        config: an instance of ``Config``.
        task: public facts of the dataset.
        context: keeps its state in the run folder, apart from the method's.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        self.config = config
        self.task = task
        self.context = context

    def prepare(self, public: PublicDataset, context: RunContext) -> None:  # noqa: B027  most preludes need none
        """Learn from public images what the query needs. Has no private argument; runs share its state.

        Args:
            public: all public images, in the task's shape; ``public.categories`` are the card's own classes.
            context: keeps its state in the shared cache; use it here instead of ``self.context``.
        """

    def preparation_basis(self) -> Mapping[str, Any] | None:
        """Return what ``prepare`` depends on besides the public images: runs that agree on it share its result.

        Returns:
            JSON values, as ``MethodConfig.pretraining_basis``; None: the prelude, all its settings and the task.
        """
        return None

    @abstractmethod
    def run(self, private: PrivateDataset, public: PublicDataset | None) -> PublicDataset:
        """Query the private images through mechanisms of ``private`` and return labelled images.

        What comes back is post-processing of the release: it belongs to this run, and no other run may reuse it. Keep
        releases with ``self.context.once``, so that a run that continues pays once.

        Args:
            private: the private images behind mechanisms.
            public: the images that ``prepare`` was given; None if the run has none.

        Returns:
            Images of the task's shape with labels in 0..K-1.
        """


@dataclass(frozen=True)
class PreludePlugin:
    """A prelude as a plugin registers it: the card, and where the class is. Building one imports nothing heavy.

    Attributes:
        implementation: dotted path ``"package.module:Class"`` of a ``Prelude``; loaded when first run.
        presets: name of a TOML file beside that module with layered presets; None for the class's defaults.
    """

    card: PreludeCard
    implementation: str
    presets: str | None = field(default=None)
