"""One image file to pixels of a public size: every step is fixed beforehand and looks at that file alone.

A person's own images come in many sizes and depths. What is done to them may depend on public constants only: a
brightest pixel, a mean or the most frequent size of a collection would be private figures.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from pydantic import Field, field_validator

from dpib.errors import DataError
from dpib.spec import Frozen

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"})
_DICOM = frozenset({".dcm", ".dicom"})
_FORMATS = ("PNG", "JPEG", "TIFF")
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
_DICOM_INSTALL = "pip install 'dpib[dicom]'"


class Preprocessing(Frozen):
    """What is done to every image: public choices, part of the certificate.

    Attributes:
        side: height and width of the result, in pixels.
        colour: three channels (RGB) instead of one (grey, ITU-R 601).
        window: (low, high) for images deeper than 8 bits and DICOM: low and below become 0, high and above 255.
    """

    side: int = Field(ge=4, le=1024)
    colour: bool = False
    window: tuple[float, float] | None = None

    @field_validator("window")
    @classmethod
    def _window_is_ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("expected LOW:HIGH with LOW below HIGH")
        return value

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every result."""
        return 3 if self.colour else 1, self.side, self.side

    def describe(self) -> str:
        """Return the steps in words."""
        window = (
            "" if self.window is None else f"values from {self.window[0]:g} to {self.window[1]:g} spread to 0..255; "
        )
        kind = "colour (RGB)" if self.colour else "grey (ITU-R 601)"
        return (
            f"{window}turned to {kind}; centre crop to a square; bicubic resize with antialiasing to "
            f"{self.side}x{self.side} pixels. Each image by itself, with these constants"
        )


def read_pixels(source: Path | bytes, what: str, how: Preprocessing) -> np.ndarray:
    """Read one image and bring it to the public shape.

    Args:
        source: a file, or the encoded bytes of a PNG, JPEG or TIFF.
        what: what it is, for messages.
        how: the public choices.

    Returns:
        uint8 (C, H, W), RGB order.

    Raises:
        DataError: if it is damaged, animated, of a kind whose brightness or colours are not defined here, or deeper
            than 8 bits and not grey, or without a window. The message names the image: for its owner only.
    """
    if isinstance(source, Path) and source.suffix.lower() in _DICOM:
        image = _read_dicom(source, what, how)
    else:
        image = _read_image(source, what, how)
    image = image.convert("RGB" if how.colour else "L")
    if image.size != (how.side, how.side):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))  # first, so that nothing outside it is mixed in
        image = square.resize((how.side, how.side), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def bits_per_channel(image: ImageFile) -> int:
    """Return the bits that a PNG, JPEG or TIFF stores for each channel, or 8 where a PNG has fewer.

    The mode does not tell them: Pillow reads 16-bit RGB as RGB and keeps the high bytes.

    Args:
        image: opened by Pillow, not decoded yet.
    """
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    return 16 if any(str(tile[3]).endswith(";16B") for tile in image.tile) else 8


def _read_image(source: Path | bytes, what: str, how: Preprocessing) -> Image.Image:
    """Return an image in mode L or RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            stream = source if isinstance(source, Path) else io.BytesIO(source)
            with Image.open(stream, formats=_FORMATS) as opened:
                if getattr(opened, "n_frames", 1) != 1:
                    raise DataError(f"{what}: has several frames or pages. Give one image per file.")
                bits = bits_per_channel(opened)
                image = ImageOps.exif_transpose(opened)
                image.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{what}: cannot be decoded as PNG, JPEG or TIFF ({error}).") from error
    if image.mode in _DEEP:
        return _windowed(np.asarray(image), what, how)
    if bits > 8 or image.mode not in _EIGHT_BITS:
        raise DataError(
            f"{what}: expected grey or RGB of 8 bits a channel, got colour mode {image.mode} of {bits}. Convert it to "
            "8-bit RGB or grey, or to 16-bit grey with --window."
        )
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise DataError(f"{what}: has transparent pixels. Flatten it on the background that is meant.")
        return image.convert("RGB")
    return image.convert("RGB") if image.mode == "P" else image


def _windowed(values: np.ndarray, what: str, how: Preprocessing) -> Image.Image:
    """Return values (H, W) spread from the window to 0..255, rounded, as a grey image."""
    if how.window is None:
        raise DataError(
            f"{what}: has more than 8 bits. State which values are black and white: --window LOW:HIGH, from how the "
            "images are made. Taking them from the images would reveal something about them."
        )
    low, high = how.window
    spread = (values.astype(np.float64) - low) / (high - low)
    return Image.fromarray(np.rint(np.clip(spread, 0.0, 1.0) * 255).astype(np.uint8))


def _read_dicom(path: Path, what: str, how: Preprocessing) -> Image.Image:
    """Return one grey frame, in modality units (rescale slope and intercept applied), windowed."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut
    except ImportError as error:
        raise DataError(f"{what}: DICOM files need pydicom. Install it: {_DICOM_INSTALL}") from error
    try:
        data = pydicom.dcmread(path)
        kind = str(data.PhotometricInterpretation)
        frames, samples = int(data.get("NumberOfFrames", 1) or 1), int(data.get("SamplesPerPixel", 1))
        if frames != 1 or samples != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
            raise DataError(f"{what}: expected one grey frame, got {frames} of {kind}. Export single frames.")
        values = np.asarray(apply_modality_lut(data.pixel_array, data))
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise DataError(f"{what}: cannot be read as DICOM ({error}).") from error
    except (pydicom.errors.InvalidDicomError, RuntimeError) as error:
        raise DataError(f"{what}: cannot be read as DICOM ({error}).") from error
    image = _windowed(values, what, how)
    return ImageOps.invert(image) if kind == "MONOCHROME1" else image
