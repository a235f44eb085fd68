"""How fast the board is with many records: ``python bench/board.py``.

Makes a store of invented records, starts the real server on it, exports the static copy, and drives Chromium. Prints
one figure a line, or JSON. Needs Playwright and a Chromium on this machine (``pip install -e '.[dev]'``).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "leaderboard" / "board"))

from store_maker import many_records, write_store  # noqa: E402

PORT = 7917
VIEW = "#/table?track=lite-v1&dataset=all&eps=all"
FIRST_ROW = "() => document.querySelector('dpib-board')?.shadowRoot?.querySelector('tbody th')"
FILTER = """async (text) => {
  const root = document.querySelector('dpib-board').shadowRoot;
  const box = root.querySelector('input[type=search]');
  const count = root.querySelector('.count');
  const before = count.textContent;
  const start = performance.now();
  box.value = text;
  box.dispatchEvent(new Event('input', { bubbles: true }));
  while (count.textContent === before) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *parts: object) -> None:
        """Say nothing."""


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address).status == 200
    except urllib.error.HTTPError as error:
        return error.code == 503
    except OSError:
        return False


@contextmanager
def _server(store: Path, home: Path, figures: dict[str, float], name: str) -> Iterator[str]:
    """Start ``dpib leaderboard``; note seconds until it answers and until it has the records, and peak memory."""
    address = f"http://127.0.0.1:{PORT}/"
    start = time.monotonic()
    command = [sys.executable, "-m", "dpib", "leaderboard", "--store", str(store), "--port", str(PORT)]
    process = subprocess.Popen(command, env=os.environ | {"HF_HOME": str(home)}, stderr=subprocess.DEVNULL)
    try:
        while not _answers(f"{address}v1/board"):
            time.sleep(0.02)
        figures[f"{name}: server answers, s"] = time.monotonic() - start
        while b"method-0001" not in _body(f"{address}v1/records?limit=1000"):
            time.sleep(0.05)
        figures[f"{name}: has the records, s"] = time.monotonic() - start
        yield address
        status = Path(f"/proc/{process.pid}/status").read_text()
        figures[f"{name}: peak memory, MiB"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    finally:
        process.terminate()
        process.wait()


def _body(address: str) -> bytes:
    return bytes(urllib.request.urlopen(address).read())


def _visit(browser: Any, address: str, figures: dict[str, float], name: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.monotonic()
    page.goto(address + VIEW)
    page.wait_for_function(FIRST_ROW)
    figures[f"{name}: table visible, s"] = time.monotonic() - start
    figures[f"{name}: first paint, s"] = page.evaluate(PAINT) / 1000
    times = [page.evaluate(FILTER, text) for text in ("method 12", "method 3", "99", "", "method 1", "dp", "")]
    figures[f"{name}: filter, median ms"] = statistics.median(times)
    page.close()


def measure(count: int) -> dict[str, float]:
    """Return the figures with ``count`` records."""
    from playwright.sync_api import sync_playwright

    figures: dict[str, float] = {}
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        store = write_store(Path(scratch) / "store", many_records(count))
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for name in ("first start", "later start"):
            with _server(store, Path(scratch) / "home", figures, name) as address:
                if name == "later start":
                    _visit(browser, address, figures, "Gradio, cold page")
                    _visit(browser, address, figures, "Gradio, again")
        site = Path(scratch) / "site"
        subprocess.run(
            [sys.executable, "-m", "dpib", "leaderboard", "--store", str(store), "--export", str(site)], check=True
        )
        handler = functools.partial(_Quiet, directory=str(site))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _visit(browser, f"http://127.0.0.1:{server.server_port}/", figures, "static copy")
        server.shutdown()
        browser.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.records)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{value:10.2f}  {name}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
