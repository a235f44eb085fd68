"""PrivImage: a diffusion model that first learns from those public images that the sensitive ones resemble.

Idea: a private query, cheap beside DP-SGD, finds the public classes that the sensitive images resemble. Pretraining on
these few, under the labels they were selected for, leaves less to be learnt from noisy gradients.

Paper: Li, Gong, Li, Zhao, Hou, Wang (USENIX Security 2024); settings from DPImageBench (2025), appendix B.2.

Released: the histogram of ``select-public``, once, sensitivity √k; then in each of T steps, over a Poisson sample, the
sum of per-record gradients as ``dpdm`` releases it, sensitivity C under add-or-remove-one, on all budget that is left.
Pretraining on the selected images is post-processing of the first release.

Public: the public images with their classes, the classifier of these; image shape, classes, the nominal size N₀,
initial weights and all noise of the diffusion process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from typing import Any

from dpib.api import MethodConfig, PrivateDataset, PublicDataset, RunContext, TaskInfo
from dpib_plugins.diffusion.public import pretrained
from dpib_plugins.diffusion.settings import PretrainedDiffusionConfig
from dpib_plugins.diffusion.synthesizer import DiffusionSynthesizer
from dpib_plugins.preludes.select_public.prelude import SelectPublic, SelectPublicConfig


class PrivImageConfig(PretrainedDiffusionConfig, SelectPublicConfig):
    """Hyper-parameters of the selection and of the diffusion model; defaults are the published ones for CIFAR-10."""

    def pretraining_basis(self, task: TaskInfo) -> dict[str, Any]:
        """Return what the classifier depends on: nothing else is learnt from all public images."""
        return self.selector_basis(task)


class PrivImage(DiffusionSynthesizer):
    """Selection, pretraining on what was selected, DP-SGD on all parameters."""

    Config = PrivImageConfig
    config: PrivImageConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        self._selection = SelectPublic(config, task, context.within("selection"))
        self._public: PublicDataset | None = None
        self._released: tuple[PublicDataset, RunContext] | None = None

    def pretrain(self, public: PublicDataset, context: RunContext) -> None:
        """Train the classifier of public images, with which the query will be made."""
        self._selection.prepare(public, context)
        self._public = public

    def warm_up(self, images: PublicDataset, context: RunContext) -> None:
        """Keep released images until the selected public ones have been learnt, in ``fit``."""
        self._released = images, context

    def fit(self, private: PrivateDataset) -> None:
        """Select, pretrain on the selection in the run's own state, then train with DP-SGD."""
        selected = self._selection.run(private, self._public)
        self.network = pretrained(self.config, self.task, selected.data, self.context.within("pretrain on selection"))
        if self._released is not None:
            super().warm_up(*self._released)
        self.fine_tune(private)
