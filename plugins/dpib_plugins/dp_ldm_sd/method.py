"""DP-LDM (SD): the pixel-space version of DP-LDM. After public pretraining DP-SGD trains a few layers only.

Idea: the norm of the noise grows with the number of trained parameters; attention and conditioning are few, and they
say what is drawn.

Paper: Liu, Lyu, Vinaroz, Park (2023), in the pixel-space variant of DPImageBench (2025).

Released: what ``dpdm`` releases, for class table, time embedding, input convolution and the attention projections
alone. Frozen parameters have no gradient, no noise and no change. Sensitivity C under add-or-remove-one.

Public: the public images and their labels, taken modulo the number of classes; image shape, classes, the nominal size
N₀, and all noise of the diffusion process, from seeds.

Deviations: see ``deviations`` of the card.
"""

from __future__ import annotations

from torch import nn

from dpib_plugins.diffusion.adapters import conditioning_and_attention
from dpib_plugins.diffusion.synthesizer import PretrainedDiffusion


class DpLdmSd(PretrainedDiffusion):
    """Conditioning and attention, from a public pretraining."""

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters of conditioning and attention."""
        return conditioning_and_attention(self.network)
