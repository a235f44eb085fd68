"""DP-NTK: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-ntk",
    title="DP-NTK",
    summary="Releases one noisy mean of neural tangent features per class and fits a generator to it.",
    family=Family.EMBEDDING,
    noise_location="input",
    published_relation=Relation.REPLACE_ONE,
    public_data="optional",
    paper="Yang, Adamczewski, Li, Sutherland, Park: Differentially Private Neural Tangent Kernels for "
    "Privacy-Preserving Data Generation. JAIR 81, 2024.",
    year=2024,
    bibtex="@article{yang2024dpntk, title={Differentially Private Neural Tangent Kernels ({DP-NTK}) for "
    "Privacy-Preserving Data Generation}, author={Yang, Yilin and Adamczewski, Kamil and Li, Xiaoxiao and Sutherland, "
    "Danica J. and Park, Mijung}, journal={Journal of Artificial Intelligence Research}, volume={81}, year={2024}}",
    homepage="https://github.com/Justinyangjy/DP-NTK",
    deviations=(
        "The embedding is over all records. The benchmark's published code embeds the first minibatch only.",
        "The noisy sum is released and divided by the public nominal size afterwards. Sensitivity 1 under "
        "add-or-remove-one; the published mean over the true count has 2/n and reveals n.",
        "The gradients of the last layer, equal for all outputs, are kept once with their joint weight: the same inner "
        "products from 1,000 times fewer numbers.",
        "The distance is that of the whole batch's mean; the benchmark's code adds up those of the means of its parts.",
        "Labels of a generated batch are balanced instead of drawn: the same expectation with less variance.",
        "Batch-norm statistics are taken anew from generated batches after training, instead of running averages.",
        "The label table has one row per private class; public labels are taken modulo the number of classes.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_ntk.method:DpNtk", presets="presets.toml")]
