"""The pinned preprocessing of benchmark images: four named steps, each defined to the pixel.

Steps run in the order of the card, on 8-bit images, with Pillow alone; its resampling is fixed-point arithmetic and
gives the same pixels on every machine. EXIF orientation is not applied. The paper's images are centre-cropped to a
square of the shorter side and resized by Lanczos.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from dpib.dataset_spec import Step

VERSION = 1
"""Raised whenever a step changes; images prepared by another version are prepared again."""


def apply_steps(image: Image.Image, steps: Sequence[Step], size: tuple[int, int]) -> Image.Image:
    """Return an image after the steps.

    - ``to-rgb``: three channels; grey is repeated, CMYK and palettes converted by Pillow.
    - ``to-grey``: one channel, ITU-R 601 luma.
    - ``centre-crop``: the square of the shorter side; of an odd remainder the larger half is cut right and below.
    - ``lanczos``: resize to ``size``, Lanczos with antialiasing.

    Args:
        image: any mode and size.
        steps: names, in order.
        size: (width, height) in pixels of the result.
    """
    for step in steps:
        if step == "centre-crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        elif step == "lanczos":
            image = image.resize(size, Image.Resampling.LANCZOS)
        else:
            image = image.convert("RGB" if step == "to-rgb" else "L")
    return image
