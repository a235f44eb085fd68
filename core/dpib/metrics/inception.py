"""The Inception network of the FID, with the classes and weights of pytorch-fid, as a feature extractor."""

from __future__ import annotations

import torch
import torchvision
from pytorch_fid import inception as fid
from torch import Tensor, nn

from dpib.metrics.extractors import batch_size, normalised, resize
from dpib.metrics.weights import PublishedWeights

N_LOGITS = 1008
WEIGHTS = PublishedWeights(
    url=fid.FID_WEIGHTS_URL,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
"""95,628,359 bytes. The digest begins as the file's name says; the rest is as many public projects state it."""


class Inception:
    """Inception-v3 as ported for the FID: 2,048 channels before its last layer, averaged over positions.

    Args:
        input_size: side in pixels; the network was trained at 299.
        device: where to compute.

    Raises:
        MetricError: if the weights are missing or are not the known ones; checked before anything is loaded.

    Source:
        Heusel et al., 2017; the port of pytorch-fid 0.3.0.
    """

    name = "inception"
    dim = 2048
    digest = WEIGHTS.sha256

    def __init__(self, input_size: int, device: str) -> None:
        self.input_size, self.batch, self._device = input_size, batch_size(device), device
        state = WEIGHTS.load()
        network = fid_network()
        network.load_state_dict(state)
        network.fc = nn.Identity()
        self._network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 (B, 2048) on the CPU."""
        inputs = normalised(resize(images, self.input_size).to(self._device), 127.5, 127.5)
        with torch.no_grad():
            return self._network(inputs).cpu()


def fid_network() -> torchvision.models.Inception3:
    """Return pytorch-fid's network without weights: what its ``fid_inception_v3`` builds before it downloads."""
    network = torchvision.models.inception_v3(num_classes=N_LOGITS, aux_logits=False, init_weights=False)
    patches = {
        "Mixed_5b": fid.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": fid.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": fid.FIDInceptionA(288, pool_features=64),
        "Mixed_6b": fid.FIDInceptionC(768, channels_7x7=128),
        "Mixed_6c": fid.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6d": fid.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6e": fid.FIDInceptionC(768, channels_7x7=192),
        "Mixed_7b": fid.FIDInceptionE_1(1280),
        "Mixed_7c": fid.FIDInceptionE_2(2048),
    }
    for name, module in patches.items():
        setattr(network, name, module)
    return network


def classification_layer() -> tuple[Tensor, Tensor]:
    """Return weight (1008, 2048) and bias (1008,) of the layer that maps the features to logits.

    Raises:
        MetricError: if the weights are missing or are not the known ones.
    """
    state = WEIGHTS.load()
    return state["fc.weight"], state["fc.bias"]
