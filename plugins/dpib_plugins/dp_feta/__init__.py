"""DP-FETA: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl
from dpib_plugins.preludes.central_images import CARD as CENTRAL

CARD = MethodCard(
    name="dp-feta",
    title="DP-FETA",
    summary="Warms a diffusion model up on noisy central images of every class, then trains it with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="mix",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="optional",
    preludes=(CENTRAL.name,),
    paper=CENTRAL.paper,
    year=CENTRAL.year,
    bibtex=CENTRAL.bibtex,
    homepage="https://github.com/SunnierLee/DP-FETA",
    deviations=(
        *CENTRAL.deviations,
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
    return [Method(CARD, implementation="dpib_plugins.dp_feta.method:DpFeta", presets="presets.toml")]
