"""Every limit that a submission is held to, in one place. Imports nothing heavy."""

from __future__ import annotations

FILES = {"record.json": 1 << 20, "ledger.jsonl": 4 << 20, "grid.png": 4 << 20}
"""Files that every submission has, and the most bytes of each."""

IMAGES = "images.parquet"
REVIEW = "review.json"
REVIEW_BYTES = 1 << 20

JSON_DEPTH = 24
NUMBER_DIGITS = 40
TEXT_LENGTH = 8_000
LINE_LENGTH = 300
"""Longest title, account, label, note or other short text; only the privacy statement may be longer."""

LEDGER_LINES = 10_000
CHARGES = 2_000

PARQUET_FOOTER = 1 << 20
PARQUET_ROW_GROUPS = 10_000
PNG_OVERHEAD = 1_024
"""Bytes an image's PNG may have beyond its raw pixels."""

UNIQUE_SHARE = 0.5
"""Least share of images that must differ from one another in some pixel."""

CLOCK_SKEW_SECONDS = 3_600
PER_ACCOUNT_PER_DAY = 50

CHILD_MEMORY = 16 << 30
"""Address space of the process that opens images, in bytes; torch alone reserves several GiB it never touches."""
CHILD_SECONDS = 3_600
CHILD_DISK = 8 << 30
STRUCTURE_SECONDS = 300
HUB_SECONDS = 20.0
"""Longest silence of the Hub before a request is given up; the client itself tries up to six times."""


def images_bytes(count: int, shape: tuple[int, int, int]) -> int:
    """Return the most bytes that a parquet file of ``count`` images of this shape may have."""
    channels, height, width = shape
    return (1 << 20) + count * (channels * height * width + height + PNG_OVERHEAD)
