"""Stdout is data: what a plugin prints, wherever it does, is on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dpib import plugins
from dpib.cli.main import app
from dpib.grids.workers import results

SOURCE = """
import torch
from dpib.api import Family, Method, MethodCard, Synthesizer, hookimpl

print("hello from import")

class Talker(Synthesizer):
    def fit(self, private):
        print("hello from fit")

    def generate(self, labels):
        return torch.zeros(len(labels), *self.task.shape, dtype=torch.uint8)

@hookimpl
def dpib_synthesizers():
    card = MethodCard(name="talker", title="", summary="", family=Family.REFERENCE, noise_location=None)
    return [Method(card, f"{__name__}:Talker")]
"""


@pytest.fixture
def talker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "talker.py"
    path.write_text(SOURCE)
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for n in range(8):
            Image.fromarray(np.full((8, 8), 9 * n, np.uint8)).save(tmp_path / "images" / label / f"{n}.png")
    yield path
    plugins.registry.cache_clear()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "talker", "--dataset", "digits", "--epsilon", "10", "--track", "demo"],
        ["check", "talker"],
        [
            *["synthesize", "talker", "--images", "images", "--epsilon", "10", "--nominal-size", "200", "--out", "out"],
            *["--folders-are-public", "--track", "demo", "--dry-run"],
        ],
    ],
    ids=lambda words: words[0],
)
def test_json_is_all_there_is_on_stdout(words: list[str], talker: Path) -> None:
    done = CliRunner().invoke(app, [*words, "--plugin", str(talker), "--json", "--quiet"])
    json.loads(done.stdout)
    assert "hello from import" in done.stderr
    assert words[0] == "check" or "hello from fit" in done.stderr  # a check keeps it to itself


@dataclass(frozen=True)
class Talk:
    runs = 1

    def work(self) -> str:
        print("hello from a worker", flush=True)
        return "done"


def test_a_worker_has_no_way_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    assert results([Talk()], 2, [], lambda job: None) == ["done"]
    captured = capfd.readouterr()
    assert captured.out == "" and "hello from a worker" in captured.err
