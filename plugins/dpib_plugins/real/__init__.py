"""Real images: what the ceiling says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, hookimpl

CARD = MethodCard(
    name="real",
    title="Real images (not private)",
    summary="Hands out the training images themselves, without any protection. The ceiling.",
    family=Family.REFERENCE,
    noise_location=None,
    private=False,
    reference=True,
    year=2026,
    expected_failures={
        "budget": "it reads the records without protection; its card says so",
        "copies": "it hands out training images; that is what it is for",
        "post-processing": "what it hands out follows the records, not noisy answers",
    },
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.real.method:Real")]
