"""DP-LoRA: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-lora",
    title="DP-LoRA",
    summary="Learns latent diffusion from public images, then trains low-rank additions with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="required",
    paper="Tsai, Li, Chen, Chen, Yu, Ren, Buet-Golfouse: Differentially Private Fine-Tuning of Diffusion Models. arXiv "
    "2406.01355, 2024.",
    year=2024,
    bibtex="@article{tsai2024dplora, title={Differentially Private Fine-Tuning of Diffusion Models}, author={Tsai, "
    "Y.-L. and Li, Y. and Chen, Z. and Chen, P.-Y. and Yu, C.-M. and Ren, X. and Buet-Golfouse, F.}, "
    "journal={arXiv preprint arXiv:2406.01355}, year={2024}}",
    homepage="https://github.com/EzzzLi/DP-LORA",
    deviations=(
        "The noised copies of a record are averaged before its gradient is clipped; the published code and the "
        "benchmark's clip each of eight copies for itself, so that a record counts eightfold.",
        "Time steps and noise latents of a record come from a public hash of the record; drawn from a public seed by "
        "position, as published, one record would change those of others.",
        "The copies of a record have time steps in K strata of the published distribution.",
        "Private images are encoded to the mean of their posterior; the benchmark draws from it.",
        "The autoencoder learns by absolute error and KL divergence; the published one also by LPIPS and a patch "
        "discriminator.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Noise comes from the operating system, not from a seed; labels of generated images are balanced.",
        "In pretraining, public labels are taken modulo the number of classes; the benchmark has 1,001 labels.",
        "The last DDIM step returns the clean estimate; the benchmark's ends one time step earlier.",
        "Averaged weights are fine-tuned and generate, and latents are divided by their public standard deviation; the "
        "benchmark's code takes the raw weights and latents as they are.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_lora.method:DpLora", presets="presets.toml")]
