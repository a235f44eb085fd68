"""That a private stage moves and noises what it trains, and nothing else."""

import torch
from method_harness import Harness


def fit_and_compare(method, harness: Harness) -> set[str]:
    """Fit a latent method on a harness with recording noise, and return the names of the weights that it trains.

    Asserts that as many numbers were noised as are trained, that these changed, and that no other weight did, those of
    the codec included.
    """
    before, codec = ({k: v.clone() for k, v in m.state_dict().items()} for m in (method.network, method.codec))
    method.fit(harness.private)
    trained = {key: p for key, p in method.network.named_parameters() if p.requires_grad}
    noised = sum(part.numel() for part in harness.noise.releases[0].answer)
    assert noised == sum(p.numel() for p in trained.values())
    for key, value in method.network.state_dict().items():
        old = before.get(key.replace(".base.", "."))  # the factors of the additions are new
        assert old is None or torch.equal(value, old) == (key not in trained), key
    assert all(torch.equal(value, codec[key]) for key, value in method.codec.state_dict().items())
    return set(trained)
