"""At least 1,000 generated inputs at the parsers: each is read or refused with RecordError or DataError, in bounds."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpib.data.readers import read_images as read_any_images
from dpib.errors import DataError, RecordError
from dpib.spec import TaskInfo
from dpib_leaderboard import limits
from dpib_leaderboard.images import read_images
from dpib_leaderboard.parsing import check_parquet_frame, check_png, parse_json, printable, skeleton, text_problem
from dpib_leaderboard.validate import parse_record

MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
TASK = TaskInfo(dataset="digits", shape=(1, 8, 8), classes=tuple("0123456789"), nominal_size=1297)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@pytest.fixture(scope="module")
def record_text(run_folder: Path) -> str:
    return (run_folder / "record.json").read_text()


@pytest.fixture(scope="module")
def images(run_folder: Path) -> bytes:
    return (run_folder / "images.parquet").read_bytes()


@pytest.fixture(scope="module")
def grid(run_folder: Path) -> bytes:
    return (run_folder / "grid.png").read_bytes()


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Return bytes with some overwritten, cut out or repeated."""
    start = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(1, 64))
    how = data.draw(st.sampled_from(["overwrite", "cut", "repeat", "truncate"]))
    if how == "overwrite":
        return content[:start] + data.draw(st.binary(min_size=length, max_size=length)) + content[start + length :]
    if how == "repeat":
        return content[: start + length] + content[start:]
    return content[:start] + (content[start + length :] if how == "cut" else b"")


@MANY
@given(st.binary(max_size=2000))
def test_t22_any_bytes_as_json(content: bytes) -> None:
    try:
        parse_json(content, "x")
    except RecordError as error:
        assert str(error).startswith("x: ")


@pytest.mark.parametrize("content", [b'"' + b'\\"' * 30_000, b'"\\' * 30_000, b'"' * 60_000, b"[" * 60_000])
def test_t20_every_byte_is_looked_at_once(content: bytes) -> None:
    """A string that is never closed took ten seconds, and four times as long for twice the size."""
    start = time.process_time()
    with pytest.raises(RecordError):
        parse_json(content, "x")
    assert time.process_time() - start < 1


@MANY
@given(JSON)
def test_t22_any_json_as_a_record(value: Any) -> None:
    with pytest.raises(RecordError):
        parse_record(json.dumps(value).encode())


@MANY
@given(st.data())
def test_t21_any_change_of_a_record_is_noticed(record_text: str, data: st.DataObject) -> None:
    plain = json.loads(record_text)
    place, key = plain, data.draw(st.sampled_from(sorted(plain)))
    while isinstance(place[key], dict) and place[key]:
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    old = place[key]
    place[key] = data.draw(JSON.filter(lambda value: json.dumps(value) != json.dumps(old) and value != old))
    with pytest.raises(RecordError):
        parse_record(json.dumps(plain).encode())


@MANY
@given(st.data())
def test_t22_damaged_records_are_refused(record_text: str, data: st.DataObject) -> None:
    content = damaged(data, record_text.encode())
    try:
        assert parse_record(content).to_json() == record_text
    except RecordError as error:
        assert len(str(error)) < 2000


@MANY
@given(st.data())
def test_t09_damaged_pngs_are_refused(grid: bytes, data: st.DataObject) -> None:
    content = damaged(data, grid)
    try:
        check_png(content, (420, 420), 1, "x")
    except RecordError:
        return
    assert content == grid


@MANY
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=5),
    st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=50)), max_size=5),
)
def test_t09_forged_pngs_are_refused(width: int, height: int, rest: bytes, chunks: list[tuple[bytes, bytes]]) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = [chunk(b"IHDR", struct.pack(">II", width, height) + rest), *(chunk(*one) for one in chunks)]
    with pytest.raises(RecordError):
        check_png(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""), (8, 8), 1, "x")


@FEWER
@given(st.data())
def test_t08_damaged_parquet_is_read_or_refused(images: bytes, tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("parquet") / "images.parquet"
    path.write_bytes(damaged(data, images))
    try:
        assert len(read_images(path, 1000, (1, 8, 8))) == 1000
    except RecordError as error:
        assert str(error)


@MANY
@given(st.binary(max_size=16), st.integers(0, 2**40))
def test_t08_any_bytes_as_a_parquet_frame(content: bytes, size: int) -> None:
    with pytest.raises(RecordError):
        check_parquet_frame(content, size, "x")
    with pytest.raises(RecordError):
        check_parquet_frame(b"PAR1" + struct.pack("<I", 53 + size % 2**31) + b"PAR1", 64, "x")


def parquet(path: Path, count: int, cell: bytes | None, label: Any = 0, **options: Any) -> Path:
    table = pyarrow.table(
        {
            "image": pyarrow.array(
                [{"bytes": cell, "path": "x"}] * count,
                pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
            ),
            "label": pyarrow.array([label] * count, pyarrow.int64()),
        }
    )
    pyarrow.parquet.write_table(table, path, **options)
    return path


def grown(read: Any) -> int:
    """Return by how many bytes the peak of this process's memory rises."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((RecordError, DataError)):
        read()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def test_t08_a_parquet_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = parquet(tmp_path / "images.parquet", 1000, bytes(300_000), compression="zstd", use_dictionary=False)
    assert path.stat().st_size < limits.images_bytes(1000, (1, 8, 8))
    assert grown(lambda: read_images(path, 1000, (1, 8, 8))) < 50 << 20


def test_t08_a_dictionary_bomb_is_refused_cell_by_cell(tmp_path: Path) -> None:
    path = parquet(tmp_path / "images.parquet", 1000, bytes(200_000), compression="zstd")
    assert grown(lambda: read_images(path, 1000, (1, 8, 8))) < 150 << 20


@pytest.mark.parametrize("label", [-1, 2**40, None])
def test_a_label_that_is_none_is_refused(label: int | None, tmp_path: Path, grid: bytes) -> None:
    pixels = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(RecordError):
        read_images(parquet(tmp_path / "images.parquet", 3, pixels, label), 3, (1, 8, 8))


@pytest.mark.parametrize(
    "columns",
    [
        {"image": [b"x"] * 3, "label": [0] * 3},
        {"image": [{"bytes": b"x", "path": "x"}] * 3, "label": ["0"] * 3},
        {"image": [{"bytes": b"x", "path": "x"}] * 3, "label": [0] * 3, "more": [1] * 3},
        {"label": [0] * 3},
    ],
)
def test_other_columns_are_refused(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(RecordError, match="expected the columns"):
        read_images(path, 3, (1, 8, 8))


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def forged(shape: tuple[int, ...], dtype: str) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def test_t06_pickles_are_refused_and_not_executed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    objects = np.array([Marker(marker)], dtype=object)
    path = npz(tmp_path / "x.npz", images=npy(objects), labels=npy(objects))
    with pytest.raises(DataError):
        read_any_images(path, TASK)
    (tmp_path / "images.parquet").write_bytes(pickle.dumps(Marker(marker)))
    with pytest.raises(RecordError):
        read_images(tmp_path / "images.parquet", 3, (1, 8, 8))
    assert not marker.exists()


def test_t07_a_forged_npy_header_allocates_nothing(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", images=forged((65536, 65536), "<f8"), labels=npy(np.zeros(1, np.int64)))
    assert grown(lambda: read_any_images(path, TASK)) < 50 << 20


@FEWER
@given(st.lists(st.integers(-(2**63), 2**63), max_size=5), st.sampled_from(["|u1", "<f8", "|O", "<i8", "|S9", "junk"]))
def test_t07_forged_npy_headers_are_refused(tmp_path_factory: Any, shape: list[int], dtype: str) -> None:
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    npz(path, images=forged(tuple(shape), dtype), labels=npy(np.zeros(1, np.int64)))
    with pytest.raises(DataError):
        read_any_images(path, TASK)


@MANY
@given(st.text(max_size=400))
def test_t11_t13_t14_accepted_text_is_harmless(text: str) -> None:
    if text_problem(text) is None:
        assert not set(text) & set("<>`\\\0\t\r\n\u202e\u200b")
        assert not text.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("one", "other"), [("dp-merf", "dp_merf"), ("dp-merf", "dp-rnerf"), ("pe1", "pel"), ("dpi", "dp-l")]
)
def test_t14_names_that_readers_confuse_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)
