"""DP-MERF: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dp-merf",
    title="DP-MERF",
    summary="Releases one noisy mean of random Fourier features per class and fits a generator to it.",
    family=Family.EMBEDDING,
    noise_location="input",
    published_relation=Relation.REPLACE_ONE,
    public_data="optional",
    paper="Harder, Adamczewski, Park: DP-MERF: Differentially Private Mean Embeddings with Random Features for "
    "Practical Privacy-Preserving Data Generation. AISTATS 2021.",
    year=2021,
    bibtex="@inproceedings{harder2021dpmerf, title={{DP-MERF}: Differentially Private Mean Embeddings with Random "
    "Features for Practical Privacy-preserving Data Generation}, author={Harder, Frederik and Adamczewski, Kamil and "
    "Park, Mijung}, booktitle={AISTATS}, pages={1819--1827}, year={2021}}",
    homepage="https://github.com/ParkLabML/DP-MERF",
    deviations=(
        "The noisy sum is released and divided by the public nominal size afterwards. Sensitivity 1 under "
        "add-or-remove-one; the published mean over the true count has 2/n and reveals n.",
        "Labels of a generated batch are balanced instead of drawn: the same expectation with less variance.",
        "Batch-norm statistics are taken anew from generated batches after training, instead of running averages.",
        "The label table has one row per private class; public labels are taken modulo the number of classes.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_merf.method:DpMerf", presets="presets.toml")]
