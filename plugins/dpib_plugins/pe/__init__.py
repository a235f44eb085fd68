"""Private Evolution: what it says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, Relation, hookimpl

CARD = MethodCard(
    name="pe",
    title="Private Evolution",
    summary="Private images vote on generated ones; noisy votes choose whose variations form the next population.",
    family=Family.API,
    noise_location="output",
    published_relation=Relation.ADD_OR_REMOVE_ONE,
    public_data="optional",
    paper="Lin, Gopi, Kulkarni, Nori, Yekhanin: Differentially Private Synthetic Data via Foundation Model APIs 1: "
    "Images. ICLR 2024.",
    year=2024,
    bibtex="@inproceedings{lin2024pe, title={Differentially Private Synthetic Data via Foundation Model {APIs} 1: "
    "Images}, author={Lin, Zinan and Gopi, Sivakanth and Kulkarni, Janardhan and Nori, Harsha and Yekhanin, Sergey}, "
    "booktitle={International Conference on Learning Representations}, year={2024}}",
    homepage="https://github.com/microsoft/DPSDA",
    deviations=(
        "The presets demo and lite use a simulator, which draws outlines named like the classes: it knows no data "
        "and is no foundation model. The paper's ImageNet-64 model is refused: no SHA-256 of its weights is known.",
        "Own diffusion (PE-SD) uses the averaged weights and public labels drawn at random; the benchmark's code never "
        "loads the averages and asks for class 0 only.",
        "One charge covers all histograms, calibrated by PLD together with everything else that the run spends.",
        "The threshold is given in standard deviations of the noise, 1.7 or 2.6, within 11 % of the published counts.",
        "A class with no candidate above the threshold draws parents uniformly; the benchmark's code divides by zero.",
        "Classes are the declared ones. No count, histogram or distance leaves the mechanism without noise.",
        "Features are rounded to a grid on which distances are exact, so that one record cannot turn another's vote.",
        "A degree is the share of a generation that is redone; the published one counts the steps that are skipped.",
        "Generated images are brought to the private size by antialiased bilinear resizing, for votes and for release.",
    ),
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.pe.method:PrivateEvolution", presets="presets.toml")]
