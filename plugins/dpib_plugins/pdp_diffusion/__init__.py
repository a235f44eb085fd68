"""PDP-Diffusion: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="pdp-diffusion",
    title="PDP-Diffusion",
    summary="Pretrains a diffusion model on public images, then trains all of it with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="required",
    paper="Ghalebikesabi, Berrada, Gowal, Ktena, Stanforth, Hayes, De, Smith, Wiles, Balle: Differentially Private "
    "Diffusion Models Generate Useful Synthetic Images. arXiv 2302.13861, 2023.",
    year=2023,
    bibtex="@article{ghalebikesabi2023pdp, title={Differentially Private Diffusion Models Generate Useful Synthetic "
    "Images}, author={Ghalebikesabi, Sahra and Berrada, Leonard and Gowal, Sven and Ktena, Ira and Stanforth, Robert "
    "and Hayes, Jamie and De, Soham and Smith, Samuel L and Wiles, Olivia and Balle, Borja}, journal={arXiv preprint "
    "arXiv:2302.13861}, year={2023}}",
    homepage="",
    deviations=(
        "Noise levels, noise images and dropped labels of a record come from a public hash of the record; drawn from a "
        "public seed by position, as published, one record would change those of others.",
        "The copies of a record have noise levels in K strata of the published distribution.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Noise comes from the operating system, not from a seed; labels of generated images are balanced.",
        "The class table has one row per private class and one null token; public labels are taken modulo the number "
        "of classes. The benchmark keeps 1,000 rows and a null token that is also a class.",
        "Network, sampler and settings are DPImageBench's; the paper's own network is larger and its code unpublished.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.pdp_diffusion.method:PdpDiffusion", presets="presets.toml")]
