"""DPDM: a diffusion model trained with DP-SGD from scratch.

Idea: of all generative models diffusion models have the kindest gradients: a per-record loss without an opponent. Many
noised copies of a record, averaged before clipping, lower its gradient's variance at no cost of privacy.

Paper: Dockhorn, Cao, Vahdat, Kreis (TMLR 2023); network, sampler and settings from DPImageBench (2025).

Released: in each of T steps, over a Poisson sample, the sum of per-record gradients of the denoising loss, mean over K
noised copies, clipped to C, plus N(0, (σC)²). Noise levels, noise images and dropped labels are functions of the record
and of public randomness, so that one record moves one term: sensitivity C under add-or-remove-one.

Public: image shape, classes, the nominal size N₀ that sets the sample rate and the divisor, initial weights and all
noise of the diffusion process, from the run's seed.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from dpib_plugins.diffusion.synthesizer import DiffusionSynthesizer


class Dpdm(DiffusionSynthesizer):
    """All parameters, from scratch."""
