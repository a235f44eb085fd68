"""``dpib eval`` on images and weights that are not as they should be: one message each, that says what is wrong."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dpib import own_cards, plugins
from dpib.cli.main import app
from dpib.metrics import inception
from dpib.metrics.weights import PublishedWeights

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (1_000, 8, 8), dtype=np.uint8)
LABELS = np.arange(1_000) % 10


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def saved(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    np.savez(folder / "images.npz", images=images, labels=labels)
    return folder / "images.npz"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


ON_DIGITS = ("--dataset", "digits", "--track", "demo")
REAL = GREY.astype(np.float32) / 255
HOLED = np.where(RNG.random(REAL.shape) < 0.01, np.nan, REAL)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (REAL, LABELS, "expected pixels as uint8 in 0..255, got float32. Scale"),
        (HOLED, LABELS, f"{np.isnan(HOLED).sum()} of 64000 values not finite"),
        (RNG.integers(0, 256, (20, 27, 31), dtype=np.uint8), LABELS[:20], "shape (1, 8, 8), got (27, 31)"),
        (GREY[..., None].repeat(3, axis=-1), LABELS, "shape (1, 8, 8), got (8, 8, 3)"),
        (GREY, LABELS[:-1], "expected 1000 labels as integers, got int64 (999,)"),
        (GREY, LABELS + 1, "expected labels in 0..9, got 1..10"),
        (GREY[:0], LABELS[:0], "holds no images"),
    ],
    ids=["floats", "nan", "27x31", "colour", "fewer labels", "unknown class", "nothing"],
)
def test_arrays_that_do_not_fit(images: np.ndarray, labels: np.ndarray, message: str, here: Path) -> None:
    code, _, err = call(saved(here, images, labels), *ON_DIGITS)
    assert code == 3
    assert message in err.replace("\n", " ")
    assert "images.npz" in err
    assert not (here / "evals").exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(RNG.integers(0, 256, (27, 31), dtype=np.uint8)), "expected 8x8 pixels, got 31x27"),
        (
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)),
            "the dataset is grey, the image has colours",
        ),
        (Image.fromarray(RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)), "transparency, got mode RGBA"),
        (Image.fromarray(np.full((8, 8), 60_000, np.uint16)), "8 bits a channel"),
    ],
    ids=["31x27", "colour", "transparent", "16 bits"],
)
def test_files_that_do_not_fit(image: Image.Image, message: str, here: Path) -> None:
    (here / "mine/0").mkdir(parents=True)
    image.save(here / "mine/0/one.png")
    code, _, err = call(here / "mine", *ON_DIGITS)
    assert code == 3
    assert message in err.replace("\n", " ")
    assert "one.png" in err


def test_a_grey_image_in_three_equal_channels_is_grey(here: Path) -> None:
    for kind, pixels in (("grey", GREY[0]), ("three", GREY[0][..., None].repeat(3, axis=-1))):
        (here / kind / "0").mkdir(parents=True)
        Image.fromarray(pixels).save(here / kind / "0/one.png")
    code, _, _ = call(here / "grey", *ON_DIGITS, "--metric", "diversity", "--quiet")
    assert code == 0
    kept = list((here / "evals").rglob("scores"))
    assert call(here / "three", *ON_DIGITS, "--metric", "diversity", "--quiet")[0] == 0
    assert list((here / "evals").rglob("scores")) == kept, "not the same images"


def test_an_absent_class_is_said_and_scored(here: Path) -> None:
    some = LABELS != 4
    code, out, err = call(saved(here, GREY[some], LABELS[some]), *ON_DIGITS, "--metric", "class-accuracy", "--json")
    assert code == 0
    assert "no images of 1 of 10 classes (4); scored as it is" in err
    [score] = [one for one in json.loads(out) if one["metric"] == "accuracy-class-4"]
    assert score["value"] == 0


def test_fewer_images_than_a_track_or_k_needs(here: Path) -> None:
    code, out, _ = call(saved(here, GREY[:3], LABELS[:3]), *ON_DIGITS, "--metric", "precision-recall", "--json")
    assert code == 0
    assert {one["reason"] for one in json.loads(out)} == {"At least 1000 synthetic images are needed, got 3."}


@pytest.fixture
def own(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset of its owner: 8 by 8 pixels, two classes, 12 training images."""
    monkeypatch.setenv(own_cards.ENVIRONMENT, str(here / "cards"))
    for label in range(2):
        (here / f"photos/{label}").mkdir(parents=True)
        for n in range(10):
            Image.fromarray(GREY[20 * label + n]).save(here / f"photos/{label}/{label}-{n}.png")
    options = ("--count-is-public", "--size", "8", "--shares", "60,20,20", "--name", "own")
    plugins.registry.cache_clear()
    result = CliRunner().invoke(app, ["datasets", "add", str(here / "photos"), *options])
    assert result.exit_code == 0, result.output
    plugins.registry.cache_clear()
    yield "own"
    plugins.registry.cache_clear()


def test_own_images_are_scored_for_fidelity_too(own: str, here: Path) -> None:
    path = saved(here, GREY, LABELS % 2)
    code, out, err = call(path, "--dataset", own, "--track", "demo", "--json")
    assert code == 0, err
    values = {one["metric"]: one["value"] for one in json.loads(out) if one["metric"] != "accuracy"}
    assert values.keys() == {"fd-random", "precision", "recall"}
    assert values["recall"] == 1, "the training images are among the synthetic ones"
    assert values["fd-random"] > 0


@pytest.fixture
def many(here: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """As many images as ``paper-v1`` compares, and no weights anywhere."""
    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = saved(here, RNG.integers(0, 256, (60_000, 8, 8), dtype=np.uint8), np.arange(60_000) % 10)
    return (path, "--dataset", "digits", "--track", "paper", "--metric", "fid")


def reason_of(arguments: tuple[object, ...]) -> str:
    code, out, _ = call(*arguments, "--json", "--quiet")
    assert code == 0
    [score] = json.loads(out)
    assert score["value"] is None
    return score["reason"]


def test_missing_weights_name_the_command_that_places_them(many: tuple[object, ...], here: Path) -> None:
    reason = reason_of(many)
    assert "are missing and HF_HUB_OFFLINE forbids to fetch them" in reason
    assert f"Do: curl --create-dirs -L -o {here / 'torch'}" in reason


def test_weights_of_another_hash_are_not_loaded(many: tuple[object, ...]) -> None:
    inception.WEIGHTS.path.parent.mkdir(parents=True)
    inception.WEIGHTS.path.write_bytes(b"something else")
    reason = reason_of(many)
    assert f"expected SHA-256 {inception.WEIGHTS.sha256}, got " in reason
    assert "not loaded. Do: curl" in reason


def test_an_interrupted_download_of_weights(many: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    class Half(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.delenv("HF_HUB_OFFLINE")
    with HTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        weights = PublishedWeights(f"http://127.0.0.1:{server.server_port}/net.pth", "0" * 64)
        monkeypatch.setattr(inception, "WEIGHTS", weights)
        reason = reason_of(many)
    assert "Do: curl" in reason
    assert "ended after 4 of 100 bytes" in reason or "failed" in reason
    assert list(weights.path.parent.iterdir()) == []
