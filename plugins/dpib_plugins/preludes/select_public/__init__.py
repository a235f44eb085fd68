"""select-public: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import PreludeCard, PreludePlugin, hookimpl

CARD = PreludeCard(
    name="select-public",
    title="Selection of public images",
    summary="Asks privately which public classes the sensitive images resemble; only those are pretrained on.",
    anchor="before-pretraining",
    public_data="required",
    paper="Li, Gong, Li, Zhao, Hou, Wang: PrivImage: Differentially Private Synthetic Image Generation using Diffusion "
    "Models with Semantic-Aware Pretraining. USENIX Security 2024.",
    year=2024,
    bibtex="@inproceedings{li2024privimage, title={{PrivImage}: Differentially Private Synthetic Image Generation "
    "using Diffusion Models with Semantic-Aware Pretraining}, author={Li, Kecen and Gong, Chen and Li, Zhixiang and "
    "Zhao, Yuzhong and Hou, Xinwen and Wang, Tianhao}, booktitle={USENIX Security}, pages={4837--4854}, year={2024}}",
    deviations=(
        "The noise is fresh; the peer reseeds with 0 before drawing it, which makes it a public constant.",
        "The query is charged in every run; a stored selection is never loaded.",
        "A public class that is taken is masked by -inf; at the published noise -999 can win.",
        "Every record is classified by itself, at the task's size: which classes it votes for cannot depend on others.",
        "The classifier is that of the last step of a cosine schedule, not the best on held-out public images.",
    ),
)


@hookimpl
def dpib_preludes() -> list[PreludePlugin]:
    """Register the prelude; its class is imported when it runs."""
    return [PreludePlugin(CARD, "dpib_plugins.preludes.select_public.prelude:SelectPublic", presets="presets.toml")]
