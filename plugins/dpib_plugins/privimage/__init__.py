"""PrivImage: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl
from dpib_plugins.preludes.select_public import CARD as SELECTION

CARD = MethodCard(
    name="privimage",
    title="PrivImage",
    summary="Pretrains a diffusion model on public classes that a private query selects, then trains it with DP-SGD.",
    family=Family.DIFFUSION,
    noise_location="model",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="required",
    preludes=(SELECTION.name,),
    paper=SELECTION.paper,
    year=SELECTION.year,
    bibtex=SELECTION.bibtex,
    homepage="https://github.com/SunnierLee/DP-ImaGen",
    deviations=(
        *SELECTION.deviations,
        "The selection and the weights pretrained on it belong to one run; only the classifier is shared.",
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
    return [Method(CARD, implementation="dpib_plugins.privimage.method:PrivImage", presets="presets.toml")]
