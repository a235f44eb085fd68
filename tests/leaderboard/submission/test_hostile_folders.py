"""Whole hostile submissions through the review: none is accepted, none opens an image, each is told why."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import Make
from PIL import Image, PngImagePlugin

from dpib_leaderboard.review import examine, report

pytestmark = pytest.mark.usefixtures("no_process")


def refusal(folder: Path, **options: Any) -> str:
    """Review a folder that has to be refused; return the reasons. Memory stays below 50 MiB."""
    tracemalloc.start()
    inspection, review = examine(folder, [], **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 << 20, f"{peak >> 20} MiB"
    assert review is None or not review.accepted
    reasons = [f"{c.name}: {c.detail}" for c in (review or inspection).checks if c.holds is False]
    assert reasons and all(len(reason) > 10 for reason in reasons)
    verdict, *lines = report(inspection, review).splitlines()
    assert "refused" in verdict
    assert all(line == "" or line.startswith("    ") for line in lines), "a stranger's text outside a code block"
    return "; ".join(reasons)


def put(*path: str | int) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    """Return a setter of one place of a record."""

    def with_value(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(plain: dict[str, Any]) -> None:
            place: Any = plain
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        return change

    return with_value


TITLE, NOTES = put("method", "title"), put("privacy", "noise_source")
RECORDS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "t11 script": (TITLE("<script>alert(1)</script>"), "markup"),
    "t11 image": (TITLE("<img src=x onerror=alert(1)>"), "markup"),
    "t11 html in a note": (NOTES("ok <b>bold</b>"), "markup"),
    "t11 html in a key": (put("environment", "packages")({"<i>": "1"}), "markup"),
    "t12 code span": (TITLE("`x` ![](http://evil.example/a.png)"), "markup"),
    "t12 remote image": (TITLE("[x](javascript:alert`1`)"), "markup"),
    "t13 hyperlink": (TITLE('=HYPERLINK("http://evil.example","x")'), "formula"),
    "t13 plus": (TITLE("+1"), "formula"),
    "t13 minus": (TITLE("-2+3"), "formula"),
    "t13 at": (TITLE("@SUM(A1)"), "formula"),
    "t13 tab": (TITLE("\t=1"), "formula"),
    "t13 full-width": (TITLE("＝1+1"), "formula"),
    "t14 bidi": (TITLE("abc\u202efed"), "invisible"),
    "t14 zero width": (TITLE("DP\u200bMERF"), "invisible"),
    "t14 cyrillic": (TITLE("Nоisy class means"), "neither Latin nor Greek"),
    "t14 full-width letters": (TITLE("Ｎoisy"), "neither Latin nor Greek"),
    "t14 nul": (TITLE("a\0b"), "invisible"),
    "t14 padded": (TITLE(" Noisy class means"), "padded"),
    "t14 another title": (TITLE("Provably perfect (world record)"), "not that of dpib's dp-means"),
    "t14 account": (put("who", "account")("a/../b"), "Hub name"),
    "t20 long text": (TITLE("x" * 5_000), "characters"),
    "t22 accuracy": (put("scores", 0, "value")(100.5), "outside"),
    "t22 negative": (put("scores", 8, "value")(-1.0), "outside"),
    "t22 huge": (put("scores", 8, "value")(1e300), "outside"),
    "t22 cost": (put("cost", "total_seconds")(-1.0), "cost"),
    "t22 GPU memory": (put("cost", "peak_gpu_bytes")(-5), "cost"),
    "t23 epsilon": (put("privacy", "spent_epsilon")(10.2), "was spent"),
    "t23 target": (put("privacy", "target_epsilon")(1.0), "target"),
    "t23 delta": (put("privacy", "delta")(1e-3), "δ"),
    "t23 relation": (put("privacy", "relation")("replace-one"), "ranks"),
    "t23 spec": (put("task", "spec", "epsilon")(1.0), "target"),
    "t16 ledger of another": (put("privacy", "ledger_digest")("0" * 64), "ledger"),
    "not private": (put("method", "distribution")("mine"), "reference"),
    "unknown track": (put("task", "spec", "track")("lite-v9"), "track"),
    "dataset of another track": (put("task", "spec", "dataset")("mnist"), "does not have"),
    "other data": (put("task", "fingerprints", "train")("1" * 64), "not the one of the card"),
    "data of no name": (put("task", "fingerprints")({}), "fingerprints of no side"),
    "nominal size": (put("task", "nominal_size")(2_000_000), "nominal"),
    "too few images": (put("synthetic", "count")(10), "images"),
    "unbalanced": (put("synthetic", "per_class")([1000, *[0] * 9]), "balanced"),
    "tuned": (put("method", "tuned")(True), "tuned"),
    "public data": (put("task", "spec", "public")("omniglot-28"), "public"),
    "pretrained weights": (put("method", "public_data")({"owner/name@commit": "0" * 64}), "as public data"),
    "other file name": (put("synthetic", "file")("../x.parquet"), "names"),
    "future": (put("created")("2999-01-01T00:00:00+00:00"), "future"),
    "no date": (put("created")("yesterday"), "not a date"),
    "incomplete": (put("status")("partial"), "complete"),
    "withheld": (put("synthetic", "withheld")("too large"), "withheld"),
    "invalidated": (put("invalidated")("no"), "invalidated"),
    "score twice": (lambda plain: plain["scores"].append(plain["scores"][0]), "twice"),
    "no scores": (put("scores")([]), "scores"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_t11_t12_t13_t14_t22_t23_hostile_records_are_refused(case: str, make: Make) -> None:
    change, reason = RECORDS[case]
    assert reason in refusal(make(change))


RAW: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "t22 NaN": (lambda text: text.replace('"created"', '"x": NaN, "created"'), "NaN"),
    "t22 infinity": (lambda text: re.sub(r'"value": [\d.]+', '"value": 1e999', text, count=1), "finite"),
    "t22 negative zero": (lambda text: text.replace('"n_synthetic": 1000', '"n_synthetic": -0.0', 1), "negative zero"),
    "t22 number as text": (lambda text: text.replace('"nominal_size": 1297', '"nominal_size": "1297"'), "integer"),
    "t22 long number": (lambda text: text.replace('"count": 1000', '"count": ' + "9" * 5000), "too long"),
    "t21 edited": (lambda text: text.replace('"seed": 0', '"seed": 1'), "id"),
    "key twice": (lambda text: text.replace("{\n", '{"id": "x",\n', 1), "twice"),
    "deep": (lambda text: "[" * 100_000, "deep"),
    "deep and closed": (lambda text: '{"a":' * 5000 + "1" + "}" * 5000, "deep"),
    "empty": (lambda text: "", "JSON"),
    "list": (lambda text: "[]", "object"),
    "not utf-8": (lambda text: b'{"a": "\xff\xfe"}', "JSON"),
    "unknown key": (lambda text: text.replace('"created"', '"extra": 1, "created"'), "extra"),
    "schema 2": (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema_version"),
    "surrogate": (lambda text: text.replace('"os": "', '"os": "\\ud800'), "invisible"),
    "too large": (lambda text: text + " " * (2 << 20), "bytes"),
    "t06 pickle": (lambda text: b"cos\nsystem\n(S'touch marker'\ntR.", "JSON"),
}


@pytest.mark.parametrize("case", RAW)
def test_t06_t21_t22_hostile_documents_are_refused(case: str, make: Make, tmp_path: Path) -> None:
    change, reason = RAW[case]
    folder = make()
    content = change((folder / "record.json").read_text())
    (folder / "record.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert reason in refusal(folder)
    assert not list(tmp_path.rglob("marker"))


def _link(folder: Path) -> None:
    (folder / "grid.png").unlink()
    (folder / "grid.png").symlink_to("/etc/passwd")


def _hard_link(folder: Path) -> None:
    os.link(folder / "ledger.jsonl", folder.parent / "second")


def _device(folder: Path) -> None:
    (folder / "grid.png").unlink()
    os.mkfifo(folder / "grid.png")


def _socket(folder: Path) -> None:
    (folder / "grid.png").unlink()
    here = Path.cwd()
    os.chdir(folder)
    socket.socket(socket.AF_UNIX).bind("grid.png")
    os.chdir(here)


def _adds(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(b"x") and None


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "t10 link": (_link, "link"),
    "t10 hard link": (_hard_link, "hard link"),
    "t10 pipe": (_device, "device"),
    "t10 socket": (_socket, "device"),
    "t10 folder": (lambda folder: (folder / "inner").mkdir(), "Unexpected"),
    "t10 case": (_adds("Record.json"), "Unexpected"),
    "t10 backslash": (_adds("..\\x"), "Unexpected"),
    "t10 drive": (_adds("C:x"), "Unexpected"),
    "t10 long": (_adds("x" * 250), "Unexpected"),
    "t10 control": (_adds("a\nb\x1b[31m"), "Unexpected"),
    "t06 weights": (_adds("model.pt"), "Unexpected"),
    "t06 npy": (_adds("images.npy"), "Unexpected"),
    "t08 zip": (_adds("images.zip"), "Unexpected"),
    "t19 loading script": (_adds("submissions.py"), "Unexpected"),
    "t19 readme": (_adds("README.md"), "Unexpected"),
    "t10 hidden": (_adds(".git"), "Unexpected"),
    "missing ledger": (lambda folder: (folder / "ledger.jsonl").unlink(), "missing"),
    "missing images": (lambda folder: (folder / "images.parquet").unlink(), "withheld"),
    "t08 sparse images": (lambda folder: os.truncate(folder / "images.parquet", 1 << 38), "bytes"),
    "t08 sparse ledger": (lambda folder: os.truncate(folder / "ledger.jsonl", 1 << 36), "bytes"),
    "images are text": (lambda folder: (folder / "images.parquet").write_text("x" * 100), "not a parquet"),
    "images are empty": (lambda folder: (folder / "images.parquet").write_bytes(b""), "not a parquet"),
    "footer": (
        lambda folder: (folder / "images.parquet").write_bytes(b"PAR1" + struct.pack("<I", 2**32 - 1) + b"PAR1"),
        "footer",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_t06_t08_t10_t19_hostile_folders_are_refused(case: str, make: Make) -> None:
    change, reason = FOLDERS[case]
    folder = make()
    change(folder)
    assert reason in refusal(folder)


def test_t10_a_record_in_another_place_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make()
    for place in ("../../x", "/x", "C:\\x", "demo-v1/digits/dp-means/0000000000000000", "x" * 300):
        assert "place" in refusal(folder, place=place)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "folder" in refusal(link)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, pixels: bytes, *more: bytes, mode: int = 0) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "y" * (1 << 22), zip=True)
    return _saved(Image.new("L", (420, 420)), "PNG", pnginfo=info)


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(1 << 24))
    return buffer.getvalue()


RIGHT = zlib.compress(bytes(421 * 420))
GRIDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "30k x 30k": (lambda: _png(30_000, 30_000, zlib.compress(b"")), "expected an 8-bit PNG"),
    "another size": (lambda: _saved(Image.new("L", (419, 420)), "PNG"), "expected an 8-bit PNG"),
    "colour": (lambda: _saved(Image.new("RGB", (420, 420)), "PNG"), "expected an 8-bit PNG"),
    "palette": (lambda: _saved(Image.new("P", (420, 420)), "PNG"), "expected an 8-bit PNG"),
    "text bomb": (_text_bomb, "not accepted"),
    "pixel bomb": (lambda: _png(420, 420, zlib.compress(bytes(200 << 20))), "more pixels"),
    "too few pixels": (lambda: _png(420, 420, zlib.compress(b"x")), "incomplete"),
    "damaged pixels": (lambda: _png(420, 420, b"junk"), "unpacked"),
    "second end": (lambda: _png(420, 420, RIGHT) + b"<script>", "follows"),
    "animation": (lambda: _png(420, 420, RIGHT, _chunk(b"acTL", bytes(8))), "not accepted"),
    "private chunk": (lambda: _png(420, 420, RIGHT, _chunk(b"prIv", b"x")), "not accepted"),
    "hidden tail": (lambda: _png(420, 420, RIGHT + b"secret"), "follows"),
    "forged length": (lambda: _png(420, 420, RIGHT)[:60] + b"\xff" * 60, "cut off"),
    "checksum": (lambda: _png(420, 420, RIGHT)[:-20] + bytes(20), "checksum"),
    "tiff": (lambda: _saved(Image.new("L", (420, 420)), "TIFF"), "not a PNG"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 420 420\n", "not a PNG"),
    "fits": (lambda: b"SIMPLE  =                    T" + bytes(2880), "not a PNG"),
    "gif": (lambda: _saved(Image.new("L", (420, 420)), "GIF"), "not a PNG"),
    "zip": (_zip_bomb, "not a PNG"),
    "empty": (lambda: b"", "not a PNG"),
    "only a signature": (lambda: b"\x89PNG\r\n\x1a\n", "incomplete"),
}


@pytest.mark.parametrize("case", GRIDS)
def test_t09_hostile_grids_are_refused(case: str, make: Make) -> None:
    content, reason = GRIDS[case]
    folder = make()
    (folder / "grid.png").write_bytes(content())
    assert reason in refusal(folder)


def _edit(number: int, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda lines: lines[number].update(values)


EVENT = {"kind": "sampled-gaussian", "sample_rate": 1.0, "steps": 1}
LEDGERS: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "unknown event": (_edit(2, event={"kind": "magic"}), "malformed"),
    "no noise": (_edit(2, event={**EVENT, "noise_multiplier": 1e-9}), "beyond"),
    "endless steps": (_edit(2, event={**EVENT, "noise_multiplier": 1.0, "steps": 10**12}), "beyond"),
    "free amplification": (_edit(2, event={**EVENT, "noise_multiplier": 1.0, "sample_rate": 0.01}), "Poisson"),
    "free parts": (
        _edit(2, event={"kind": "partitioned-gaussian", "noise_multiplier": 1.0, "parts": 1000, "steps": 1}),
        "disjoint parts",
    ),
    "unpaid steps": (_edit(3, steps_executed=2), "steps"),
    "negative steps": (_edit(3, steps_executed=-1), "steps"),
    "charge twice": (lambda lines: lines.append(lines[2]), "twice"),
    "unknown line": (lambda lines: lines.append({"type": "refund"}), "unknown type"),
    "other budget": (_edit(0, epsilon=100.0), "another ε"),
    "other delta": (_edit(0, delta=0.5), "does not open"),
    "no opening": (lambda lines: lines.pop(1), "opens the validation side 0 times"),
    "opened twice": (lambda lines: lines.append(lines[0]), "opens the train side 2 times"),
    "side of no kind": (lambda lines: lines.append({"type": "open", "side": []}), "a side that there is not"),
    "no charge for the epoch": (lambda lines: lines.__delitem__(slice(4, 6)), "without a charge for 'select epoch"),
    "third side": (lambda lines: lines.append({**lines[0], "side": "test"}), "a side that there is not"),
    "sides of a charge": (_edit(2, side={"train": 1}), "malformed"),
    "steps of no name": (_edit(3, id=["train-0001"]), "no count of steps"),
    "type of no kind": (_edit(0, type=[]), "unknown type"),
    "html": (_edit(2, label="<b>x</b>"), "markup"),
    "many": (lambda lines: lines.extend([lines[3]] * 20_000), "too long"),
}


@pytest.mark.parametrize("case", LEDGERS)
def test_t16_hostile_ledgers_are_refused(case: str, make: Make, run_folder: Path) -> None:
    change, reason = LEDGERS[case]
    lines = [json.loads(line) for line in (run_folder / "ledger.jsonl").read_text().splitlines()]
    change(lines)
    folder = make(ledger="".join(json.dumps(line) + "\n" for line in lines).encode())
    assert reason in refusal(folder)


def test_there_are_at_least_fifty() -> None:
    assert len(RECORDS) + len(RAW) + len(FOLDERS) + len(GRIDS) + len(LEDGERS) >= 100
