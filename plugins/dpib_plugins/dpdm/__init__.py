"""DPDM: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="dpdm",
    title="DPDM",
    summary="Trains a diffusion model from scratch with DP-SGD and many noised copies of every record.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="unused",
    paper="Dockhorn, Cao, Vahdat, Kreis: Differentially Private Diffusion Models. TMLR 2023.",
    year=2023,
    bibtex="@article{dockhorn2023dpdm, title={Differentially Private Diffusion Models}, author={Dockhorn, Tim and Cao, "
    "Tianshi and Vahdat, Arash and Kreis, Karsten}, journal={Transactions on Machine Learning Research}, year={2023}}",
    homepage="https://github.com/nv-tlabs/DPDM",
    deviations=(
        "Noise levels, noise images and dropped labels of a record come from a public hash of the record; drawn from a "
        "public seed by position, as published, one record would change those of others.",
        "The copies of a record have noise levels in K strata of the published distribution.",
        "The sample rate is the batch over the nominal size; the benchmark's is one over the number of batches.",
        "Noise comes from the operating system, not from a seed; labels of generated images are balanced.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dpdm.method:Dpdm", presets="presets.toml")]
