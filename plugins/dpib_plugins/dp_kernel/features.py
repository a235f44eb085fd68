"""Random Fourier features of a mean of Gaussian kernels, with norm exactly 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpib_plugins.dp_merf.features import FourierFeatures


class MultiBandwidthFeatures(FourierFeatures):
    """The map ψ whose inner products estimate the mean over b of exp(-|x - y|² / 2b²), x and y in -1..1.

    The features of each bandwidth are scaled by 1/√m for m bandwidths, so that |ψ(x)|² is the mean of m ones: 1. The
    published kernel is the sum, with k(x, x) = m; a factor on the kernel changes nothing once it is noised in
    proportion.

    Args:
        n_pixels: length P of a flattened image.
        n_features: D, a cosine and a sine per frequency and as many frequencies for each bandwidth.
        bandwidths: b of each kernel.
        generator: public randomness for the frequencies.
        device: where features are computed.

    Source:
        Rahimi, Recht (2007); Jiang et al. (2023), section 5.
    """

    def __init__(
        self, n_pixels: int, n_features: int, bandwidths: Sequence[float], generator: torch.Generator, device: str
    ) -> None:
        frequencies = torch.randn(n_pixels, n_features // 2, generator=generator)
        per_bandwidth = n_features // (2 * len(bandwidths))
        scales = torch.tensor(bandwidths).repeat_interleave(per_bandwidth)
        self._frequencies = (frequencies * (2 / scales)).to(device)  # a difference is half as large in 0..1
