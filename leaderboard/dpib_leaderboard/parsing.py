"""Parsers for bytes that a stranger sent: bounded, strict, and with one kind of error. Imports no torch, no Pillow."""

from __future__ import annotations

import json
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn

from dpib.errors import RecordError
from dpib_leaderboard import limits

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Strings, of which one may be cut off at the end: whatever the content, each byte is looked at once."""
_PNG = b"\x89PNG\r\n\x1a\n"
_FORMULA = tuple("=+-@\t\r\0＝＋－＠")
_FORBIDDEN = frozenset("<>`\\")
_LOOK_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "8": "b", "-": None, "_": None, ".": None})


def parse_json(content: bytes, what: str) -> Any:
    """Return the value of a JSON document that a stranger wrote.

    Raises:
        RecordError: if it is not JSON in UTF-8, nested too deeply, names a key twice, or holds a number that is not
            finite, is negative zero or has too many digits.
    """
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRINGS.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > limits.JSON_DEPTH:
        raise RecordError(f"{what}: nested {deepest} deep, at most {limits.JSON_DEPTH} is accepted.")
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{what}: not an acceptable JSON document: {printable(str(error))}") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if len(text) > limits.NUMBER_DIGITS or value - value != 0 or str(value) == "-0.0":
        raise ValueError(f"the number {text[:20]} is not finite, is negative zero or too long")
    return value


def _integer(text: str) -> int:
    if len(text) > limits.NUMBER_DIGITS or text == "-0":
        raise ValueError(f"the number {text[:20]} is too long or negative zero")
    return int(text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is named twice")
    return content


def printable(text: str, length: int = 400) -> str:
    """Return a stranger's text for reports: one line, printable characters, cut to a length."""
    shown = "".join(c if c.isprintable() and unicodedata.category(c) != "Cf" else "�" for c in text[: length + 1])
    return shown if len(shown) <= length else shown[:length] + "…"


def text_problem(text: str, length: int = limits.LINE_LENGTH) -> str | None:
    """Return why a text is not accepted, or None: length, control and direction marks, markup, formulas, scripts."""
    if len(text) > length:
        return f"has {len(text)} characters, at most {length} are accepted"
    if text.startswith(_FORMULA):
        return "begins like a spreadsheet formula"
    for character in text:
        category = unicodedata.category(character)
        if category[0] == "C" or category in ("Zl", "Zp"):
            return f"has the invisible character U+{ord(character):04X}"
        if character in _FORBIDDEN:
            return f"has the markup character '{character}'"
        if category[0] == "L" and not unicodedata.name(character, "").startswith(("LATIN", "GREEK")):
            return f"has a letter that is neither Latin nor Greek, U+{ord(character):04X}"
        if unicodedata.name(character, "").startswith(("FULLWIDTH", "HALFWIDTH")):
            return f"has the full-width character U+{ord(character):04X}"
    return None


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{place} key", key
            yield from texts(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, place)


def skeleton(name: str) -> str:
    """Return what names have in common that a reader confuses: ``dp-merf``, ``DP_MERF`` and ``dp-rnerf``."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_LOOK_ALIKE)
    return plain.replace("rn", "m").replace("vv", "w").replace("cl", "d").replace(" ", "")


def check_png(content: bytes, size: tuple[int, int], channels: int, what: str) -> None:
    """Check a PNG down to its last byte without decoding it: chunks, checksums, exact size, exact amount of pixels.

    Args:
        content: the file.
        size: (width, height) it must have.
        channels: 1 for grey, 3 for RGB; 8 bits each, not interlaced.
        what: for messages.

    Raises:
        RecordError: if it is anything else.
    """
    if not content.startswith(_PNG):
        raise RecordError(f"{what}: not a PNG file.")
    expected = struct.pack(">IIBBBBB", *size, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    raw = (size[0] * channels + 1) * size[1]
    inflater, inflated, offset, first = zlib.decompressobj(), 0, len(_PNG), True
    kind = body = b""
    while offset < len(content):
        if offset + 12 > len(content):
            raise RecordError(f"{what}: the PNG is cut off.")
        length, kind = struct.unpack(">I4s", content[offset : offset + 8])
        body = content[offset + 8 : offset + 8 + length]
        if len(body) < length or offset + 12 + length > len(content):
            raise RecordError(f"{what}: the PNG is cut off or a chunk's length is forged.")
        (checksum,) = struct.unpack(">I", content[offset + 8 + length : offset + 12 + length])
        if checksum != zlib.crc32(kind + body):
            raise RecordError(f"{what}: a PNG chunk has a wrong checksum.")
        if first and (kind != b"IHDR" or body != expected):
            raise RecordError(f"{what}: expected an 8-bit PNG of {size[0]}x{size[1]} pixels, {channels} channel(s).")
        if not first and kind not in (b"IDAT", b"IEND"):
            raise RecordError(f"{what}: PNG chunks of type {printable(repr(kind))} are not accepted.")
        offset += 12 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            inflated += _inflate(inflater, body, raw + 1 - inflated, what)
            if inflated > raw:
                raise RecordError(f"{what}: the PNG holds more pixels than its size allows.")
        first = False
    if kind != b"IEND" or body or offset != len(content) or inflated != raw or not inflater.eof or inflater.unused_data:
        raise RecordError(f"{what}: the PNG is incomplete or something follows its end.")


def _inflate(inflater: Any, body: bytes, most: int, what: str) -> int:
    try:
        return len(inflater.decompress(body, most))
    except zlib.error as error:
        raise RecordError(f"{what}: the PNG's pixels cannot be unpacked ({error}).") from error


def check_parquet_frame(content: bytes, size: int, what: str) -> None:
    """Check the two ends of a parquet file before any parser sees it.

    Args:
        content: the first four and the last eight bytes.
        size: bytes of the file.
        what: for messages.

    Raises:
        RecordError: if the marks are missing or the footer's length is forged.
    """
    if len(content) != 12 or not (content.startswith(b"PAR1") and content.endswith(b"PAR1")):
        raise RecordError(f"{what}: not a parquet file.")
    (footer,) = struct.unpack("<I", content[4:8])
    if not 0 < footer <= min(limits.PARQUET_FOOTER, size - 12):
        raise RecordError(f"{what}: the parquet footer claims {footer} bytes of {size}.")
