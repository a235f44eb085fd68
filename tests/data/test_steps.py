"""The preprocessing of benchmark images, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dpib.data.steps import apply_steps

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("width", "height", "left", "top"), [(178, 218, 0, 20), (7, 4, 1, 0), (4, 4, 0, 0)])
def test_centre_crop_keeps_the_square_of_the_shorter_side(width: int, height: int, left: int, top: int) -> None:
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(width, height)
    cropped = apply_steps(Image.fromarray(pixels), ["centre-crop"], (1, 1))
    assert (np.asarray(cropped) == pixels[top : top + side, left : left + side]).all()


def test_lanczos_is_pinned() -> None:
    ramp = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
    resized = np.asarray(apply_steps(Image.fromarray(ramp), ["lanczos"], (4, 4)))
    # Computed once with Pillow 12.3.0; a change here changes every prepared image and its fingerprint.
    assert resized.tolist() == [[18, 26, 34, 42], [80, 88, 96, 104], [148, 156, 164, 172], [210, 218, 226, 234]]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "RGBA"])
def test_to_rgb_takes_every_mode_of_imagenet(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)).convert(mode)
    assert apply_steps(image, ["to-rgb"], (5, 6)).mode == "RGB"


def test_steps_run_in_their_order() -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 40, 3), dtype=np.uint8))
    cropped_first = apply_steps(image, ["to-grey", "centre-crop", "lanczos"], (8, 8))
    squeezed = apply_steps(image, ["to-grey", "lanczos"], (8, 8))
    assert cropped_first.mode == squeezed.mode == "L"
    assert (np.asarray(cropped_first) != np.asarray(squeezed)).any()
