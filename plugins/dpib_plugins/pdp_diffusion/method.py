"""PDP-Diffusion: a diffusion model that learns from public images first, then from private ones with DP-SGD.

Idea: public images teach what images are like in general; the noisy gradients only have to teach the difference.

Paper: Ghalebikesabi, Berrada, Gowal, Ktena, Stanforth, Hayes, De, Smith, Wiles, Balle (2023); network, sampler and
settings from DPImageBench (2025), which pretrains DPDM's network.

Released: what ``dpdm`` releases; the same mechanism, from other initial weights. Sensitivity C under add-or-remove-one.

Public: the public images and their labels, taken modulo the number of classes; image shape, classes, the nominal size
N₀, and all noise of the diffusion process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from dpib_plugins.diffusion.synthesizer import PretrainedDiffusion


class PdpDiffusion(PretrainedDiffusion):
    """All parameters, from a public pretraining."""
