"""A static copy of a board: the same widget, reading files instead of the API."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dpib.errors import ConfigError, StorageError
from dpib.files import write_text_atomically
from dpib_leaderboard.board import Board, grid_of, record_page

STATIC = Path(__file__).parent / "static"
MARK = "v1/board.json"


def export_site(board: Board, folder: Path) -> int:
    """Write a static site that any web server can serve.

    Args:
        board: a board that has been refreshed.
        folder: where to write: new, empty, or an earlier copy, which is replaced.

    Returns:
        How many records it holds.

    Raises:
        ConfigError: if the folder holds something else.
        StorageError: if the store could not be read.
    """
    if board.problem:
        raise StorageError(f"{board.problem} No copy was written.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise ConfigError(f"{folder} is not empty and not an earlier copy of a board. Give another folder.")
    for part in ("widget", "v1"):
        shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(STATIC, folder / "widget", ignore=shutil.ignore_patterns("index.html"))
    shutil.copyfile(STATIC / "index.html", folder / "index.html")
    data = folder / "v1"
    for name in ("records", "grids"):
        (data / name).mkdir(parents=True)
    count = 0
    for entry in board.entries():
        count += 1
        name = entry.record.id[:16]
        _write(data / "records" / f"{name}.json", record_page(entry))
        grid = grid_of(entry)
        if grid is not None:
            shutil.copyfile(grid, data / "grids" / f"{name}.png")
    for kind in ("methods", "datasets"):
        _write(data / f"{kind}.json", board.snapshot["cards"][kind])
    write_text_atomically(folder / MARK, _text({**board.snapshot, "stale": ""}))
    return count


def _text(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _write(path: Path, plain: object) -> None:
    path.write_text(_text(plain), encoding="utf-8")
