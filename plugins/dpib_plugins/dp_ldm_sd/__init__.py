"""DP-LDM (SD): what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-ldm-sd",
    title="DP-LDM (SD)",
    summary="Pretrains a diffusion model on public images, then trains attention and conditioning with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="required",
    paper="Liu, Lyu, Vinaroz, Park: Differentially Private Latent Diffusion Models. arXiv 2305.15759, 2023; in pixel "
    "space as in DPImageBench.",
    year=2023,
    bibtex="@article{liu2023dpldm, title={Differentially Private Latent Diffusion Models}, author={Liu, Michael F and "
    "Lyu, Saiyue and Vinaroz, Margarita and Park, Mijung}, journal={arXiv preprint arXiv:2305.15759}, year={2023}}",
    homepage="https://github.com/SaiyueLyu/DP-LDM",
    deviations=(
        "Noise levels, noise images and dropped labels of a record come from a public hash of the record; drawn from a "
        "public seed by position, as published, one record would change those of others.",
        "The copies of a record have noise levels in K strata of the published distribution.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Noise comes from the operating system, not from a seed; labels of generated images are balanced.",
        "The class table has one row per private class and one null token; public labels are taken modulo the number "
        "of classes. The benchmark keeps 1,000 rows and a null token that is also a class.",
        "The trained layers are those of the benchmark's code: besides class table and attention, which its text "
        "names, the time embedding and the input convolution. Normalisations stay frozen.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_ldm_sd.method:DpLdmSd", presets="presets.toml")]
