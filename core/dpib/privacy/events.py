"""Accesses to private data as frozen data: exactly what pricing needs, nothing of the implementation. No torch.

The meaning of an event never changes once released; a new mechanism is a new event.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter

from dpib.spec import Frozen


class SampledGaussian(Frozen):
    """``steps`` releases of a Gaussian mechanism, each on an independent Poisson sample of the records.

    Attributes:
        noise_multiplier: noise standard deviation divided by the L2 sensitivity under add-or-remove-one.
        sample_rate: probability with which each record enters a step; 1 means all records, no amplification.
        steps: number of releases.
    """

    kind: Literal["sampled-gaussian"] = "sampled-gaussian"
    noise_multiplier: float = Field(gt=0)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=1, ge=1)

    def with_noise(self, noise_multiplier: float) -> Self:
        """Return this event at another noise multiplier."""
        return self.model_copy(update={"noise_multiplier": noise_multiplier})


class PureDp(Frozen):
    """One release that is (ε, 0)-DP by itself, e.g. report-noisy-max."""

    kind: Literal["pure-dp"] = "pure-dp"
    epsilon: float = Field(gt=0)


class NonPrivate(Frozen):
    """Unprotected access; ε = ∞."""

    kind: Literal["non-private"] = "non-private"


Event = Annotated[SampledGaussian | PureDp | NonPrivate, Field(discriminator="kind")]
EVENT: TypeAdapter[SampledGaussian | PureDp | NonPrivate] = TypeAdapter(Event)
"""Validates an event from plain data."""
