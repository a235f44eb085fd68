"""DICOM through pydicom, where it is installed; a clear refusal where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dpib.data.pixels import Preprocessing, read_pixels
from dpib.errors import DataError

WINDOWED = Preprocessing(side=8, window=(-1000.0, 1000.0))


def write_dicom(path: Path, values: np.ndarray, photometric: str = "MONOCHROME2", frames: int = 1) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName = "Kowalczyk^Anna"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.RescaleSlope, data.RescaleIntercept = 2, -1000
    data.PixelData = values.astype("<u2").tobytes()
    pydicom.dcmwrite(path, data)
    return path


def test_dicom_is_rescaled_and_windowed(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 20
    pixels = read_pixels(write_dicom(tmp_path / "scan.dcm", values), "scan", WINDOWED)
    expected = np.rint(np.clip((2.0 * values - 1000 + 1000) / 2000, 0, 1) * 255)
    assert np.array_equal(pixels[0], expected)
    inverted = read_pixels(write_dicom(tmp_path / "film.dcm", values, "MONOCHROME1"), "film", WINDOWED)
    assert np.array_equal(inverted[0], 255 - expected)


def test_dicom_needs_a_window_and_one_grey_frame(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--window LOW:HIGH"):
        read_pixels(write_dicom(tmp_path / "a.dcm", np.zeros((8, 8), np.uint16)), "a", Preprocessing(side=8))
    with pytest.raises(DataError, match="one grey frame"):
        read_pixels(write_dicom(tmp_path / "b.dcm", np.zeros((2, 8, 8), np.uint16), frames=2), "b", WINDOWED)
    torn = tmp_path / "c.dcm"
    torn.write_bytes((tmp_path / "a.dcm").read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read as DICOM"):
        read_pixels(torn, "c", WINDOWED)
    torn.write_bytes(b"not dicom")
    with pytest.raises(DataError, match="cannot be read as DICOM"):
        read_pixels(torn, "c", WINDOWED)


def test_without_pydicom_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "scan.dcm").write_bytes(b"")
    with pytest.raises(DataError, match=r"pip install 'dpib\[dicom\]'"):
        read_pixels(tmp_path / "scan.dcm", "scan", WINDOWED)
