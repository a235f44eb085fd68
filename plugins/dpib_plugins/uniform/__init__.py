"""Uniform noise: what the baseline says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, hookimpl

CARD = MethodCard(
    name="uniform",
    title="Uniform noise",
    summary="Every pixel at random; reads no data. Chance level.",
    family=Family.REFERENCE,
    noise_location=None,
    reference=True,
    year=2026,
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.uniform.method:Uniform")]
