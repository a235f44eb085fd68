"""What runs share does not depend on the run that made it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from public_images import public_images

from dpib.context import RunContext
from dpib.job import make_spec, prepare
from dpib.progress import Reporter
from dpib.seeds import Seeds


@pytest.mark.parametrize("method", ["dp-merf", "dp-ntk", "dp-kernel", "dp-gan", "gs-wgan"])
def test_a_pretraining_is_the_same_whatever_the_seed_of_the_run_that_makes_it(method: str, tmp_path: Path) -> None:
    job = prepare(make_spec(method, "digits", 10.0, "demo", variant="tiny"))
    weights = []
    for seed in (0, 1):
        context = RunContext(tmp_path / f"run{seed}", "cpu", Seeds(seed), Reporter())
        synthesizer = job.synthesizer(job.resolved.config, job.dataset.task(), context)
        shared = RunContext(tmp_path / f"shared{seed}", "cpu", Seeds(0), Reporter())
        synthesizer.pretrain(public_images(), shared)
        modules = [one for one in vars(synthesizer).values() if isinstance(one, torch.nn.Module)]
        weights.append([tensor for module in modules for tensor in module.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
