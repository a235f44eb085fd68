"""The metrics that come with dpib: cards, and where the classes are. Imports no torch."""

from __future__ import annotations

from dpib.metrics.base import MetricCard, MetricPlugin

ACCURACY = MetricCard(
    name="accuracy",
    title="Accuracy",
    summary="Accuracy on real test images of classifiers trained on synthetic images only; mean over the classifiers.",
    higher_is_better=True,
    unit="%",
    source="Gong et al., DPImageBench, 2025, 'Utility'",
)
FD_EFFNET = MetricCard(
    name="fd-effnet",
    title="FD-EffNet",
    summary="Fréchet distance to real training images in EfficientNet-Lite0 features. Not FID: another network.",
    higher_is_better=False,
    source="Heusel et al., 2017, with the features of Tan and Le, 2019",
)
FD_RANDOM = MetricCard(
    name="fd-random",
    title="FD-Random",
    summary="Fréchet distance to real training images in the features of a fixed random network, for demonstrations.",
    higher_is_better=False,
    decimals=4,
    source="Heusel et al., 2017, with random features",
)
PRECISION_RECALL = MetricCard(
    name="precision-recall",
    title="Precision and recall",
    summary="Shares of synthetic images on the real manifold (precision) and of real ones on the synthetic (recall).",
    higher_is_better=True,
    source="Kynkäänniemi et al., 2019, Section 3",
)

METRICS: tuple[MetricPlugin, ...] = (
    MetricPlugin(ACCURACY, "dpib.metrics.accuracy:Accuracy"),
    MetricPlugin(FD_EFFNET, "dpib.metrics.frechet:FrechetEffNet"),
    MetricPlugin(FD_RANDOM, "dpib.metrics.frechet:FrechetRandom"),
    MetricPlugin(PRECISION_RECALL, "dpib.metrics.precision_recall:PrecisionRecall"),
)
"""Every built-in metric; the first is what tracks rank by."""
