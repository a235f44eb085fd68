"""What lies in the working folder when somebody makes a mistake."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from dpib.cli.main import app
from dpib.files import write_text_atomically

RUN = "runs/demo-v1/digits/dp-means/eps1-seed0-"

METHOD = """
import torch
from dpib.api import Family, Method, MethodCard, MethodConfig, Synthesizer, hookimpl


@hookimpl
def dpib_synthesizers():
    card = MethodCard(name="mine", title="Mine", summary="Mine.", family=Family.EMBEDDING, noise_location="output")
    return [Method(card, implementation=f"{{__name__}}:Mine")]


class Mine(Synthesizer):
    Config = MethodConfig

    def fit(self, private):
{fit}

    def generate(self, labels):
{generate}
"""
SUM = 'private.noisy_sum(lambda images, labels: images.flatten(1) / 255, label="sum", clipping_norm=1.0)'
BLACK = "return torch.zeros(len(labels), *self.task.shape, dtype=torch.uint8)"


def method(fit: str = SUM, generate: str = BLACK) -> Callable[[Path], None]:
    """Return a scene with ``mine.py``, a single-file method with these bodies."""

    def write(folder: Path) -> None:
        bodies = {
            name: "\n".join(f"        {line}" for line in body.splitlines())
            for name, body in (("fit", fit), ("generate", generate))
        }
        (folder / "mine.py").write_text(METHOD.format(**bodies))

    return write


def file(name: str, text: str) -> Callable[[Path], None]:
    """Return a scene with one text file."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


def scaffold(folder: Path) -> None:
    """``dpib new mine`` was called, and nothing was installed."""
    CliRunner().invoke(app, ["new", "mine"])


@cache
def _made() -> Path:
    """Return a folder with one finished run, made once for all scenes."""
    folder = Path(tempfile.mkdtemp(prefix="dpib-mistakes-"))
    words = ["run", "dp-means", "--dataset", "digits", "--epsilon", "1", "--track", "demo", "--quiet"]
    result = CliRunner().invoke(app, [*words, "--runs", str(folder / "runs")])
    assert result.exit_code == 0, result.output
    return folder


def run_folder(folder: Path) -> Path:
    """Return the folder of the only run."""
    (found,) = (folder / "runs").glob("*/*/*/*")
    return found


def finished(folder: Path) -> None:
    """A run of dp-means on digits is complete."""
    shutil.copytree(_made() / "runs", folder / "runs")


def edited_record(folder: Path) -> None:
    """Its record claims a smaller ε."""
    finished(folder)
    record = run_folder(folder) / "record.json"
    write_text_atomically(record, record.read_text().replace('"target_epsilon": 1.0', '"target_epsilon": 0.1'))


def edited_ledger(folder: Path) -> None:
    """A line of its ledger is gone."""
    finished(folder)
    ledger = run_folder(folder) / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))


def unfinished(folder: Path) -> None:
    """The run has no record yet."""
    finished(folder)
    (run_folder(folder) / "record.json").unlink()


def store(folder: Path) -> None:
    """The run lies in a results store, not yet reviewed."""
    finished(folder)
    target = folder / "store/demo-v1/digits/dp-means/0123456789abcdef"
    target.mkdir(parents=True)
    for name in ("record.json", "ledger.jsonl", "grid.png", "images.parquet"):
        shutil.copy(run_folder(folder) / name, target / name)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write an image and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def own_images(folder: Path) -> None:
    """Twenty grey images of two classes, and the list of the classes."""
    random = np.random.default_rng(0)
    for name in ("normal", "pneumonia"):
        for number in range(10):
            write_png(folder / f"xrays/{name}/{number}.png", random.integers(0, 256, (8, 8), dtype=np.uint8))
    (folder / "classes.txt").write_text("normal\npneumonia\n")


def own_images_and(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return the scene of own images with something changed."""

    def write(folder: Path) -> None:
        own_images(folder)
        change(folder)

    return write


def loose_images(folder: Path) -> None:
    """Images lie beside the class folders."""
    write_png(folder / "xrays/0.png", np.zeros((8, 8), np.uint8))


def third_class(folder: Path) -> None:
    """There is a folder that the list of classes lacks."""
    write_png(folder / "xrays/unclear/0.png", np.zeros((8, 8), np.uint8))


def table_inside(folder: Path) -> None:
    """A spreadsheet lies among the images."""
    (folder / "xrays/normal/patients.csv").write_text("name\n")


def damaged(folder: Path) -> None:
    """An image was cut off."""
    path = folder / "xrays/normal/0.png"
    path.write_bytes(path.read_bytes()[:40])


def deep(folder: Path) -> None:
    """An image has 16 bits."""
    write_png(folder / "xrays/normal/0.png", np.full((8, 8), 40_000, np.uint16))


def transparent(folder: Path) -> None:
    """An image has transparent pixels."""
    write_png(folder / "xrays/normal/0.png", np.zeros((8, 8, 4), np.uint8))


def other_release(folder: Path) -> None:
    """The folder of the release holds something else."""
    (folder / "release").mkdir()
    (folder / "release/thesis.tex").write_text("mine\n")


def arrays(pixels: np.ndarray, labels: np.ndarray) -> Callable[[Path], None]:
    """Return a scene with ``images.npz``."""

    def write(folder: Path) -> None:
        np.savez(folder / "images.npz", images=pixels, labels=labels)

    return write
