"""DP-Kernel: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-kernel",
    title="DP-Kernel",
    summary="Releases noisy kernel mean embeddings under five bandwidths at once and fits a generator to them.",
    family=Family.EMBEDDING,
    noise_location="model",
    published_relation=Relation.REPLACE_ONE,
    public_data="optional",
    paper="Jiang, Sun, Yu: Functional Renyi Differential Privacy for Generative Modeling. NeurIPS 2023.",
    year=2023,
    bibtex="@inproceedings{jiang2023functional, title={Functional {R{\\'e}nyi} Differential Privacy for Generative "
    "Modeling}, author={Jiang, Dihong and Sun, Sun and Yu, Yaoliang}, booktitle={NeurIPS}, year={2023}}",
    homepage="https://github.com/dihjiang/DP-kernel",
    deviations=(
        "Random Fourier features of the five kernels replace the exact Gaussian process: what is released is a vector, "
        "and values and gradients of the noisy function come from it alone. The published code noises values and "
        "takes exact gradients, and runs a step without noise if a covariance matrix cannot be factorised.",
        "One release over all records by default, one per step on request; see the page for the comparison.",
        "Batches are Poisson samples where the published code shuffles, and its accounting assumes Poisson samples.",
        "Labels of generated images are balanced and public instead of copied from the private batch, and the noisy "
        "function is never evaluated at private images.",
        "The squared distance of the embeddings is minimised by Adam; the published code takes its square and RMSprop.",
        "Batch-norm statistics are taken anew from generated batches after training, instead of running averages.",
        "The label table has one row per private class; public labels are taken modulo the number of classes.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_kernel.method:DpKernel", presets="presets.toml")]
