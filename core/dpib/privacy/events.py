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

    @property
    def exposure(self) -> SampledGaussian:
        """What a single record is exposed to: this."""
        return self


class PartitionedGaussian(Frozen):
    """``steps`` releases of a Gaussian mechanism, each on one of disjoint parts of the records, in public turn.

    Release t is made on part t mod ``parts``; which part a record is in depends on the record alone. A record is
    seen by the releases of its own part only, ⌈steps / parts⌉ at most: parallel composition (privacy 4 and 6).

    Attributes:
        noise_multiplier: noise standard deviation divided by the L2 bound on how far a release can move when the
            records of its part change in any way, the past releases being the same.
        parts: number of parts, M.
        steps: number of releases on all parts together, T.
    """

    kind: Literal["partitioned-gaussian"] = "partitioned-gaussian"
    noise_multiplier: float = Field(gt=0)
    parts: int = Field(ge=1)
    steps: int = Field(ge=1)

    @property
    def steps_per_part(self) -> int:
        """⌈T / M⌉, the most releases that one part sees."""
        return -(-self.steps // self.parts)

    def with_noise(self, noise_multiplier: float) -> Self:
        """Return this event at another noise multiplier."""
        return self.model_copy(update={"noise_multiplier": noise_multiplier})

    @property
    def exposure(self) -> SampledGaussian:
        """What a single record is exposed to: the releases of one part.

        Under add-or-remove-one that is exact. Under replace-one a record may leave one part and enter another: two
        parts move by the bound each, a signal-to-noise ratio of √2 times the one part's, and pricing assumes 2.
        """
        return SampledGaussian(noise_multiplier=self.noise_multiplier, steps=self.steps_per_part)


class PureDp(Frozen):
    """One release that is (ε, 0)-DP by itself, e.g. report-noisy-max."""

    kind: Literal["pure-dp"] = "pure-dp"
    epsilon: float = Field(gt=0)


class NonPrivate(Frozen):
    """Unprotected access; ε = ∞."""

    kind: Literal["non-private"] = "non-private"


Gaussian = SampledGaussian | PartitionedGaussian
"""Events with Gaussian noise; ``exposure`` is what accountants compose."""

AnyEvent = Gaussian | PureDp | NonPrivate
Event = Annotated[AnyEvent, Field(discriminator="kind")]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Event)
"""Validates an event from plain data."""
