"""A headless Chromium on a static copy of a board: what the browser tests share."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from store_maker import board_of, write_store

from dpib.records import RunRecord
from dpib_leaderboard.export import export_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CELL = "#/table?track=lite-v1&dataset=mnist&eps=1"
PATIENCE = 60_000
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("browser"),
]
Pairs = list[tuple[RunRecord, dict[str, Any] | None]]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *parts: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, records: Pairs) -> Iterator[str]:
    """Serve a static copy of a board of these records."""
    board = board_of(write_store(folder / "store", records))
    site = folder / "site"
    export_site(board, site)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def open_page(page: Any, address: str, view: str) -> None:
    page.goto("about:blank")
    page.goto(address + view)
    page.locator("main h1").wait_for()
