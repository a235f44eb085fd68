"""DP-LDM: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-ldm",
    title="DP-LDM",
    summary="Learns autoencoder and latent diffusion from public images, then trains attention with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="required",
    paper="Liu, Lyu, Vinaroz, Park: Differentially Private Latent Diffusion Models. arXiv 2305.15759, 2023.",
    year=2023,
    bibtex="@article{liu2023dpldm, title={Differentially Private Latent Diffusion Models}, author={Liu, Michael F and "
    "Lyu, Saiyue and Vinaroz, Margarita and Park, Mijung}, journal={arXiv preprint arXiv:2305.15759}, year={2023}}",
    homepage="https://github.com/SaiyueLyu/DP-LDM",
    deviations=(
        "Time steps and noise latents of a record come from a public hash of the record; drawn from a public seed by "
        "position, as published, one record would change those of others.",
        "Private images are encoded to the mean of their posterior; the benchmark draws from it.",
        "The autoencoder learns by absolute error and KL divergence; the published one also by LPIPS and a patch "
        "discriminator.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Noise comes from the operating system, not from a seed; labels of generated images are balanced.",
        "The class table has one row per private class; public labels are taken modulo the number of classes. The "
        "benchmark has 1,001 rows.",
        "The last DDIM step returns the clean estimate; the benchmark's ends one time step earlier.",
        "Averaged weights are fine-tuned and generate, and latents are divided by their public standard deviation; the "
        "benchmark's code takes the raw weights and latents as they are.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_ldm.method:DpLdm", presets="presets.toml")]
