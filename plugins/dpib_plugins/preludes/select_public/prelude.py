"""select-public: the public classes that the sensitive images resemble, found by one noisy histogram.

Idea: pretraining helps more on few public images that resemble the sensitive ones than on all there are. A classifier
of the public classes, trained on public images, says what each sensitive image resembles; the noisy counts choose.

Paper: Li, Gong, Li, Zhao, Hou, Wang (USENIX Security 2024), section 4; settings from DPImageBench (2025), appendix B.2.

Released: the histogram H (K, P): a record with label y adds 1 to the k cells (y, c) of the k public classes c that the
classifier scores highest for it, plus N(0, (√k σ)²) on all K·P cells, once, over all records. k different cells of one
row: the L2 sensitivity under add-or-remove-one is √k.

Public: image shape, classes, the public images with their classes, the classifier.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dpib.api import (
    MethodConfig,
    Prelude,
    PrivateDataset,
    PublicDataset,
    RunContext,
    RunError,
    SampledGaussian,
    TaskInfo,
    classes_per_label,
)
from dpib_plugins.preludes.select_public.selector import Architecture, build_selector, to_input, train_selector


class SelectPublicConfig(MethodConfig):
    """Hyper-parameters; defaults are the published ones."""

    share: float = Field(default=0.05, gt=0, le=1, description="share of the public classes to select")
    query_noise_multiplier: float = Field(default=50.0, gt=0, description="noise over the sensitivity √k of the query")
    selector: Architecture = Field(default="resnet-50", description="classifier of the public classes")
    selector_steps: int = Field(default=312_785, ge=1, description="updates of the classifier")
    selector_batch: int = Field(default=2_048, ge=2, description="public images per such update")
    selector_learning_rate: float = Field(default=0.01, gt=0, description="first step size of SGD, then a cosine")
    selector_weight_decay: float = Field(default=5e-4, ge=0, description="weight decay of SGD")
    selector_flip: bool = Field(default=True, description="mirror half of the public images")

    def fixed_releases(self, task: TaskInfo) -> Mapping[str, SampledGaussian]:  # noqa: ARG002  all records vote
        """Return the semantic query."""
        return {"query_noise_multiplier": SampledGaussian(noise_multiplier=self.query_noise_multiplier)}

    def selector_basis(self, task: TaskInfo) -> dict[str, Any]:
        """Return network and schedule of the classifier: whatever the share and the noise, it is the same one."""
        settings = {name: value for name, value in self.model_dump().items() if name.startswith("selector")}
        return {"algorithm": "selector", "shape": task.shape, "settings": settings}


class SelectPublic(Prelude):
    """Narrows the public images to the classes that the sensitive images resemble, under the labels they do so."""

    Config = SelectPublicConfig
    config: SelectPublicConfig

    def __init__(self, config: MethodConfig, task: TaskInfo, context: RunContext) -> None:
        super().__init__(config, task, context)
        self._selector: nn.Module | None = None

    def prepare(self, public: PublicDataset, context: RunContext) -> None:
        """Train the classifier on all public images, under the classes of their card."""
        config = self.config
        categories, n_categories = public.card_classes()
        with context.seeds.init("selector"):
            selector = build_selector(config.selector, self.task.shape[0], n_categories).to(context.device)
        train_selector(
            selector,
            public.data.images,
            categories,
            steps=config.selector_steps,
            batch_size=config.selector_batch,
            learning_rate=config.selector_learning_rate,
            weight_decay=config.selector_weight_decay,
            flip=config.selector_flip,
            context=context,
        )
        self._selector = selector

    def preparation_basis(self) -> Mapping[str, Any]:
        """Return what the classifier depends on."""
        return self.config.selector_basis(self.task)

    def run(self, private: PrivateDataset, public: PublicDataset | None) -> PublicDataset:
        """Release the histogram and return the public images of the chosen classes."""
        if public is None or self._selector is None:
            raise RunError("select-public chooses from public images. Give some with --public.")
        _, n_categories = public.card_classes()
        k = classes_per_label(n_categories, self.task.n_classes, self.config.share)
        statistic = Votes(self._selector, n_categories, k)
        histogram = self.context.once(
            "semantic query",
            lambda: private.noisy_sum(
                statistic,
                label="select-public: semantic query",
                clipping_norm=math.sqrt(k),
                noise_multiplier=self.config.query_noise_multiplier,
                by_class=True,
            ),
        )
        return public.relabelled(choose_categories(histogram, k))


class Votes:
    """Maps records to rows of k ones: the public classes that the classifier scores highest.

    Every record goes through the classifier alone. In a batch, the last bits of its scores could depend on how many
    others there are, and a tie could turn: then one record would move the votes of another.
    """

    def __init__(self, selector: nn.Module, n_categories: int, k: int) -> None:
        self._selector, self._n_categories, self._k = selector, n_categories, k

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  the form of a statistic
        """Map uint8 (B, C, H, W) to float rows (B, n_categories) of zeros and k ones."""
        rows = torch.zeros(len(images), self._n_categories, device=images.device)
        for row, image in zip(rows, images, strict=True):
            row[self._selector(to_input(image[None]))[0].topk(self._k).indices] = 1.0
        return rows


def choose_categories(histogram: Tensor, k: int) -> dict[int, int]:
    """Return the label that each chosen public class gets; post-processing of a release.

    Args:
        histogram: noisy counts (K, P), K·k ≤ P.
        k: classes per label. Label 0 takes the k highest of its row, label 1 the k highest of its own not yet taken,
            and so on.
    """
    label_of: dict[int, int] = {}
    free = histogram.cpu().clone()
    for label in range(len(free)):
        chosen = free[label].topk(k).indices
        label_of.update(dict.fromkeys(chosen.tolist(), label))
        free[:, chosen] = -torch.inf
    return label_of
