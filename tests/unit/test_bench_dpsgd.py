"""The benchmark of the engine measures the networks it names, and variants that compute the same thing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import bench.dpsgd.__main__ as command

    return command


def test_the_networks_have_the_published_numbers_of_parameters(bench: Any) -> None:
    counts = {case.name.split()[0]: sum(p.numel() for p in case.make().parameters()) for case in bench.cases()}
    assert counts == {
        "unet-3.87M": 3_867_299,
        "unet-1.49M": 1_485_217,
        "latent-7.11M": 7_112_259,
        "latent-lora-7.29M": 7_289_411,
        "disc-1.65M": 1_647_847,
    }


@pytest.fixture
def tiny(bench: Any) -> Any:
    from bench.dpsgd.cases import Case
    from bench.dpsgd.nets import UNet

    return Case("tiny", lambda: UNet(1, 8, (1, 1), 4, 3, width=8), (1, 8, 8), 3, images=4, copies=1)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_every_private_variant_computes_the_same_clipped_sum(bench: Any, tiny: Any) -> None:
    clip = bench.median_norm(tiny, "cpu")
    plain = torch.cat([g.flatten() for g in bench.make(tiny, "plain", "cpu", clip)()])
    sums = {
        name: torch.cat([g.flatten() for g in bench.make(tiny, name, "cpu", clip)()])
        for name in ("dpib", "opacus-hooks", "opacus-ghost", "torch.func")
    }
    assert float((sums["dpib"] - plain).norm()) > 0.05 * float(plain.norm()), "clipping must have happened"
    for name, found in sums.items():
        gap = float((found - sums["dpib"]).norm() / found.norm())
        assert gap < (1e-3 if name == "opacus-ghost" else 1e-5), name  # Opacus adds 1e-6 to the norms


@pytest.mark.parametrize("low_rank", [False, True])
def test_the_latent_network_with_and_without_low_rank_additions_gives_the_clipped_sum(
    bench: Any, low_rank: bool
) -> None:
    from bench.dpsgd.cases import Case

    from dpib_plugins.diffusion.adapters import train_only
    from dpib_plugins.latent.adapters import add_low_rank
    from dpib_plugins.latent.unet import LatentUNet

    def make() -> LatentUNet:
        network = LatentUNet((3, 4, 4), 3, 8, (1,), (1,), 1)
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
        if low_rank:
            train_only(network, add_low_rank(network, ("q", "v"), 2, 2.0))
        return network

    case = Case("latent", make, (3, 4, 4), 3, images=4, copies=2, latent=True)
    clip = bench.median_norm(case, "cpu")
    ours, theirs = (
        torch.cat([g.flatten() for g in bench.make(case, name, "cpu", clip)()]) for name in ("dpib", "torch.func")
    )
    assert float((ours - theirs).norm()) < 1e-5 * float(theirs.norm())


def test_the_table_has_a_ratio_for_every_variant(
    bench: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "cases", lambda scale: [tiny])
    monkeypatch.setattr(bench, "time_noise", lambda rounds: 0.1)
    options = ["bench", "--variant", "dpib", "--rounds", "2", "--no-memory", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*options, "--json"])
    bench.main()
    row = json.loads(capsys.readouterr().out)["time"]["tiny"]
    assert row["plain"]["ratio"] == 1 and row["dpib"]["lowest"] <= row["dpib"]["ratio"] <= row["dpib"]["highest"]
    monkeypatch.setattr(sys, "argv", options)
    bench.main()
    assert "| tiny |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench", "--variant", "nonsense", "--device", "cpu"])
    with pytest.raises(SystemExit):
        bench.main()
