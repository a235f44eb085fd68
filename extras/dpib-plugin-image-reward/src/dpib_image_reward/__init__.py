"""ImageReward: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.hooks import hookimpl
from dpib.metrics.base import MetricCard, MetricPlugin

CARD = MetricCard(
    name="image-reward",
    title="ImageReward",
    summary="How well synthetic images fit a prompt with the name of their class, as people would judge.",
    higher_is_better=True,
    source="Xu et al., 2023; prompts of Gong et al., DPImageBench, 2025, Appendix B.2.5",
    needs="image-reward in an environment of its own, named by DPIB_IMAGE_REWARD_PYTHON",
)


@hookimpl
def dpib_metrics() -> list[MetricPlugin]:
    """Register the metric; its class is imported when it runs."""
    return [MetricPlugin(CARD, "dpib_image_reward.metric:ImageReward")]
