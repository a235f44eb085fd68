"""The metrics that come with dpib: cards, and where the classes are. Imports no torch."""

from __future__ import annotations

from dpib.metrics.base import MetricCard, MetricPlugin

INCEPTION_NEEDS = "weights of Inception, 96 MB, fetched on first use"

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

FID = MetricCard(
    name="fid",
    title="FID",
    summary="Fréchet distance to real training images in the features of pytorch-fid's Inception.",
    higher_is_better=False,
    source="Heusel et al., 2017",
    needs=INCEPTION_NEEDS,
)
INCEPTION_SCORE = MetricCard(
    name="inception-score",
    title="Inception Score",
    summary="Confidence of Inception on single synthetic images, and variety over all of them; sees no real image.",
    higher_is_better=True,
    source="Salimans et al., 2016",
    needs=INCEPTION_NEEDS,
)
FLD = MetricCard(
    name="fld",
    title="FLD",
    summary="Likelihood of held-out test features under Gaussians on synthetic ones, against that of real ones; "
    "fld-train is the paper's variant on training features.",
    higher_is_better=False,
    source="Jiralerspong et al., 2023",
)
DENSITY_COVERAGE = MetricCard(
    name="density-coverage",
    title="Density and coverage",
    summary="How densely synthetic images lie around real ones, and the share of real ones with one nearby.",
    higher_is_better=True,
    source="Naeem et al., 2020, Section 3",
)
CLASS_ACCURACY = MetricCard(
    name="class-accuracy",
    title="Accuracy by class",
    summary="Test accuracy of each class and of the worst at the last epoch; confusion matrices beside the record.",
    higher_is_better=True,
    unit="%",
)
CALIBRATION = MetricCard(
    name="calibration-error",
    title="Calibration error",
    summary="Expected calibration error on real test images, at the last epoch, of classifiers trained on synthetic "
    "images only.",
    higher_is_better=False,
    unit="%",
    source="Guo et al., 2017, Equation 3",
)
DIVERSITY = MetricCard(
    name="diversity",
    title="Copies and neighbours",
    summary="Distinct images, copies of real ones, and nearest neighbours in train and held out.",
    higher_is_better=True,
    source="The copy test of dpib review",
)

METRICS: tuple[MetricPlugin, ...] = (
    MetricPlugin(ACCURACY, "dpib.metrics.accuracy:Accuracy"),
    MetricPlugin(FD_EFFNET, "dpib.metrics.frechet:FrechetEffNet"),
    MetricPlugin(FD_RANDOM, "dpib.metrics.frechet:FrechetRandom"),
    MetricPlugin(PRECISION_RECALL, "dpib.metrics.precision_recall:PrecisionRecall"),
    MetricPlugin(FID, "dpib.metrics.frechet:FrechetInception"),
    MetricPlugin(INCEPTION_SCORE, "dpib.metrics.inception_score:InceptionScore"),
    MetricPlugin(FLD, "dpib.metrics.fld:FeatureLikelihoodDivergence"),
    MetricPlugin(DENSITY_COVERAGE, "dpib.metrics.precision_recall:DensityCoverage"),
    MetricPlugin(CLASS_ACCURACY, "dpib.metrics.per_class:ClassAccuracy"),
    MetricPlugin(CALIBRATION, "dpib.metrics.per_class:CalibrationError"),
    MetricPlugin(DIVERSITY, "dpib.metrics.diversity:Diversity"),
)
"""Every built-in metric; the first is what tracks rank by."""
