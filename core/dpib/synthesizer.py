"""What a method implements: a card, a typed configuration, and pretrain, fit, generate. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dpib.spec import Frozen, MethodCard, TaskInfo

if TYPE_CHECKING:
    from torch import Tensor

    from dpib.context import RunContext
    from dpib.data.images import PublicDataset
    from dpib.privacy.events import AnyEvent
    from dpib.privacy.private import PrivateDataset


class MethodConfig(Frozen):
    """Base of a method's hyper-parameters: frozen, strict, every field with a description and a unit.

    Defaults are the published values. Dataset facts, ε, δ, devices and paths never belong here.
    """

    def public_weights(self) -> Mapping[str, str]:
        """Return pretrained weights that the settings name: SHA-256 by name and revision. None by default.

        They are public data, take the place of ``--public``, and are named by the record. Fetches nothing.

        Raises:
            ConfigError: if what the settings name is not one fixed state of weights.
        """
        return {}

    def check_public(self, given: bool) -> None:
        """Refuse public images, or their absence, that a method cannot do with under these settings.

        The card's ``public_data`` says what holds for all settings; this, called before anything is loaded or spent, is
        for a method that learns from public images under some. By default all is well.

        Args:
            given: whether the run has public images, all or some.

        Raises:
            ConfigError: says what to drop, to add or to choose.
        """

    def fixed_releases(self, task: TaskInfo) -> Mapping[str, AnyEvent]:  # noqa: ARG002  most methods fix none
        """Return the releases whose noise these settings fix; the method's last mechanism takes what they leave.

        A budget that is too small for them is refused before anything is loaded. What is not named here is refused too,
        by the ledger: when it is asked for, after any pretraining.

        Args:
            task: public facts of the dataset.

        Returns:
            Events by the setting that holds their noise multiplier, as the ledger will charge them. None by default.
        """
        return {}

    def pretraining_basis(self, task: TaskInfo) -> Mapping[str, Any] | None:  # noqa: ARG002  the safe default needs none
        """Return what ``pretrain`` depends on besides the public images: runs that agree on it share its result.

        Args:
            task: public facts of the dataset.

        Returns:
            JSON values (a name for the algorithm, shapes, settings), whatever the method, ε and seed; None, the safe
            default: the method, all its settings and the task.
        """
        return None


class Synthesizer(ABC):
    """A method. The harness calls ``pretrain`` (if there is public data), ``fit``, ``generate``, in this order.

    Args:
        config: an instance of ``Config``.
        task: public facts of the dataset.
        context: device, seeds, progress and resumable state; how to work, never what on.

    Attributes:
        warms_up: False for a method that has ``pretrain`` and yet cannot go on learning from released images: preludes
            that release some are refused.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    warms_up: ClassVar[bool] = True

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        self.config = config
        self.task = task
        self.context = context

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Learn from public images. Has no private argument, so it costs no privacy and is shared by runs.

        Args:
            public: public images, already of the task's shape, with labels in 0..K-1.
            context: keeps its state in the shared pretraining cache, or in the run folder where a private query chose
                the images; use it here instead of ``self.context``, its seeds too: shared ones do not depend on the
                run's.
        """
        raise NotImplementedError(f"{type(self).__name__} declares public data but has no pretrain().")

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Learn from images that a prelude released, after public images and before private ones.

        By default by ``pretrain``: a method whose ``pretrain`` starts from fresh weights, or is longer than few images
        deserve, overrides this; one that cannot sets ``warms_up`` to False.

        Args:
            images: released images of the task's shape; few of them.
            context: keeps its state in the run folder, apart from that of ``pretrain`` and ``fit``.
        """
        self.pretrain(images, context)

    @abstractmethod
    def fit(self, private: PrivateDataset) -> None:
        """Learn from the private images, through the mechanisms of ``private`` only."""

    @abstractmethod
    def generate(self, labels: Tensor) -> Tensor:
        """Return one image per label.

        Args:
            labels: int64 (N,), chosen by the harness, class-balanced.

        Returns:
            uint8 (N, C, H, W), RGB order, 0..255. The same labels and seed give the same images.
        """


@dataclass(frozen=True)
class Method:
    """A method as a plugin registers it: the card, and where the class is. Building one imports nothing heavy.

    Attributes:
        implementation: dotted path ``"package.module:Class"`` of a ``Synthesizer``; loaded when first run. In a
            single file: ``f"{__name__}:Class"``.
        presets: name of a TOML file beside that module with layered presets; None for the class's defaults.
    """

    card: MethodCard
    implementation: str
    presets: str | None = field(default=None)
