"""GS-WGAN: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="gs-wgan",
    title="GS-WGAN",
    summary="Trains a generator with noisy gradients from private critics, each on its own part of the records.",
    family=Family.GAN,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="optional",
    paper="Chen, Orekondy, Fritz: GS-WGAN: A Gradient-Sanitized Approach for Learning Differentially Private "
    "Generators. NeurIPS 2020.",
    year=2020,
    bibtex="@inproceedings{chen2020gswgan, title={{GS-WGAN}: A Gradient-Sanitized Approach for Learning Differentially "
    "Private Generators}, author={Chen, Dingfan and Orekondy, Tribhuvanesh and Fritz, Mario}, "
    "booktitle={NeurIPS}, year={2020}}",
    homepage="https://github.com/DingfanChen/GS-WGAN",
    deviations=(
        "The critics take public turns and each counts its own releases; the paper draws one at random and claims "
        "amplification, for which critics that persist from step to step have no accepted proof.",
        "The bound counts all rows of a batch together, 2C/√B; the benchmark's code forgets the batch.",
        "Every critic is warmed up on its own part; the benchmark's code starts all of them from one critic.",
        "A record's part is a public hash of the record, so parts have about, not exactly, equal sizes.",
        "Labels of generated batches are balanced; a critic compares a record with generated images of its label.",
        "Generated images that critics train on come from the step's generator, a pool for each step.",
        "Networks have the published sizes, but a critic's score and label table are not normalised spectrally, and "
        "the generator has ReLU before the first convolution of each block and both ReLU and pixel norm before its "
        "last layer, instead of both after its first one. Images of 28 pixels are the centre of 32.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.gs_wgan.method:GsWgan", presets="presets.toml")]
