"""DP-GAN: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-gan",
    title="DP-GAN",
    summary="Trains the discriminator of a GAN with DP-SGD; the generator learns from the noised discriminator.",
    family=Family.GAN,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="optional",
    paper="Xie, Lin, Wang, Wang, Zhou: Differentially Private Generative Adversarial Network. arXiv 1802.06739, 2018.",
    year=2018,
    bibtex="@article{xie2018dpgan, title={Differentially Private Generative Adversarial Network}, author={Xie, Liyang "
    "and Lin, Kaixiang and Wang, Shu and Wang, Fei and Zhou, Jiayu}, journal={arXiv preprint arXiv:1802.06739}, "
    "year={2018}}",
    homepage="",
    deviations=(
        "Hinge loss, class labels and per-record clipping as in DPImageBench, instead of a Wasserstein loss with "
        "clipped weights.",
        "A record is compared with one of a step's public pool of generated images, found by a public hash of the "
        "record. Pairing by position would change the partners of all records after one that is added.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Labels of generated batches are balanced instead of drawn.",
        "Batch-norm statistics are taken anew from generated batches after training, instead of running averages. "
        "The discriminator's fakes come from batch norm in training mode; the benchmark's from evaluation mode.",
        "The label tables have one row per private class; public labels are taken modulo the number of classes.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_gan.method:DpGan", presets="presets.toml")]
