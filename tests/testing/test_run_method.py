"""``dpib.testing``: passes a method that works and names what is wrong with one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpib import plugins
from dpib.testing import run_method

METHOD = """
import torch
from dpib.api import Family, Method, MethodCard, Synthesizer, hookimpl

class Small(Synthesizer):
    def fit(self, private):
        sums = private.noisy_sum(lambda x, y: x.flatten(1) / 255, label="s", clipping_norm=8.0, by_class=True)
        self.means = (sums * self.task.n_classes / self.task.nominal_size).clamp(0, 1)

    def generate(self, labels):
        noise = torch.rand(len(labels), *self.task.shape, generator=self.context.seeds.torch("noise"))
        means = self.means.cpu()[labels].reshape(noise.shape)
        return ((0.8 * means + 0.2 * noise) * 255).to(torch.uint8)

@hookimpl
def dpib_synthesizers():
    card = MethodCard(name="small", title="S", summary="S", family=Family.EMBEDDING, noise_location="output")
    return [Method(card, f"{__name__}:Small")]
"""


@pytest.fixture(autouse=True)
def fresh_registry() -> None:
    plugins.registry.cache_clear()


def test_a_single_file_that_works_passes(tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(METHOD)
    record = run_method(path, tmp_path / "runs", epsilon=5.0)
    assert record.method.distribution == "small.py"
    assert record.privacy.spent_epsilon is not None
    assert 4.5 < record.privacy.spent_epsilon <= 5.0


def test_a_method_that_draws_one_image_fails(tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(METHOD.replace("(0.8 * means + 0.2 * noise)", "0 * noise"))
    with pytest.raises(AssertionError, match="All images are the same"):
        run_method(str(path), tmp_path / "runs")
