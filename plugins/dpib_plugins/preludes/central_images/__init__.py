"""central-images: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import PreludeCard, PreludePlugin, hookimpl

CARD = PreludeCard(
    name="central-images",
    title="Central images",
    summary="Releases a few noisy mean (or mode) images of every class; the method warms up on them.",
    anchor="before-fine-tuning",
    paper="Li, Gong, Li, Zhao, Hou, Wang: From Easy to Hard: Building a Shortcut for Differentially Private Image "
    "Synthesis. IEEE Symposium on Security and Privacy 2025.",
    year=2025,
    bibtex="@inproceedings{li2025dpfeta, title={From Easy to Hard: Building a Shortcut for Differentially Private "
    "Image Synthesis}, author={Li, Kecen and Gong, Chen and Li, Xiaochen and Zhao, Yuzhong and Hou, Xinwen and Wang, "
    "Tianhao}, booktitle={IEEE Symposium on Security and Privacy}, year={2025}}",
    deviations=(
        "The noisy sum is divided by the public constant q N₀ / K. Paper and peer divide by the actual number of "
        "images in the sample, which is private and can be 1: their sensitivity is understated.",
        "Pixels are centred at mid-grey before they are summed, which halves the sensitivity and so the noise at the "
        "same noise multiplier.",
        "One series of releases per run, whatever the number of processes; it is charged with every method.",
    ),
)


@hookimpl
def dpib_preludes() -> list[PreludePlugin]:
    """Register the prelude; its class is imported when it runs."""
    return [PreludePlugin(CARD, "dpib_plugins.preludes.central_images.prelude:CentralImages", presets="presets.toml")]
