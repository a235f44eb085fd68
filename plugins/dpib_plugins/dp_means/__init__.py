"""Noisy class means: what the baseline says about itself, and the hook that registers it. Imports no torch."""

from __future__ import annotations

from dpib.api import Family, Method, MethodCard, hookimpl

CARD = MethodCard(
    name="dp-means",
    title="Noisy class means",
    summary="Releases the noisy mean image of every class and returns it with random pixel noise: the trivial floor.",
    family=Family.REFERENCE,
    noise_location="input",
    reference=True,
    year=2026,
)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    """Register the method; its class is imported when it runs."""
    return [Method(CARD, implementation="dpib_plugins.dp_means.method:DpMeans", presets="presets.toml")]
