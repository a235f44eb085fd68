"""The site builds without a warning, within its time; every link and anchor inside it leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from dpib import catalogue
from dpib.api import __all__ as public_api
from dpib.cli.commands import BUILT_IN
from dpib.grids.grid import read_grid
from dpib.records import PROTOCOLS

ROOT = Path(__file__).parents[2]
TWINS = ("utility", "selection", "shortcut", "epsilon")
SECONDS = 120
"""The build takes about 25 on a busy core; the bound only catches one that hangs or does the work of a test run."""


class Page(HTMLParser):
    """What of a page can be linked to, and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := values.get(key)))
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with the options of ``make docs`` and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    tree = os.pathsep.join(str(ROOT / part) for part in ("core", "plugins", "leaderboard"))
    started = time.monotonic()
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "trees"]
    done = subprocess.run(
        [*command, ROOT / "docs", folder / "html"],
        env={**os.environ, "PYTHONPATH": tree},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert time.monotonic() - started < SECONDS
    return folder / "html"


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[Path, Page]:
    """Return the pages by path."""
    return {path: Page(path.read_text("utf-8")) for path in built.rglob("*.html")}


def test_every_source_became_a_page(built: Path) -> None:
    for source in (ROOT / "docs").rglob("*.md"):
        assert (built / source.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), source


def test_links_inside_the_site_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_what_is_registered_is_listed(built: Path) -> None:
    listed = {name: (built / f"reference/{name}.html").read_text("utf-8") for name in _REGISTERED}
    for name, registered in _REGISTERED.items():
        for one in registered():
            assert one in listed[name], f"{one} is not on reference/{name}.html"


def test_the_table_of_methods_links_their_pages(pages: dict[Path, Page], built: Path) -> None:
    links = pages[built / "reference/methods.html"].links
    own = {path.stem for path in (ROOT / "docs/methods").glob("*.md")}
    assert all(links.count(f"../methods/{name}.html") >= 3 for name in own), "in the table, on the card, in the menu"
    text = (built / "reference/methods.html").read_text("utf-8")
    assert -1 < text.find("published relation") < text.find('id="references"'), "the table comes first"


def test_every_reviewed_accuracy_is_on_its_methods_page(built: Path) -> None:
    reviews = list((ROOT / "submissions").glob("lite-v1/*/*/*/review.json"))
    replaced = {json.loads(path.with_name("record.json").read_text("utf-8"))["supersedes"] for path in reviews}
    found = 0
    for path in reviews:
        page = built / f"methods/{path.parents[1].name}.html"
        review = json.loads(path.read_text("utf-8"))
        if page.is_file() and review["accepted"] and not review["invalidated"] and review["record"] not in replaced:
            scores = (one for one in review["scores"] if not one["classifier"] and one["protocol"] == PROTOCOLS[0])
            table = page.read_text("utf-8").partition("dpib-method-scores")[2].partition("</table>")[0]
            assert f"{next(scores)['value']:.1f}" in table, path
            found += 1
    assert found > 100


def test_the_page_of_results_has_every_finding_with_its_verdict(built: Path) -> None:
    text = (built / "results.html").read_text("utf-8")
    for twin in TWINS:
        for finding in read_grid(ROOT / f"experiments/lite/{twin}.toml").findings:
            told = text.partition(f">{escape(finding.text, quote=False)}<")[2].partition("</tr>")[0]
            assert re.search(r">(holds|does not hold|cannot be told)\b", told), finding.text


def test_the_public_api_is_documented(built: Path) -> None:
    anchors = Page((built / "reference/api.html").read_text("utf-8")).anchors
    values = {"API_VERSION", "hookimpl"}
    assert {f"dpib.api.{name}" for name in public_api if name not in values} <= anchors
    assert {"dpib.run", "dpib.results", "dpib.testing.conformance"} <= anchors


_REGISTERED = {
    "methods": lambda: [one.card.name for one in catalogue.methods() if one.distribution == "dpib"],
    "datasets": lambda: [one.name for one in catalogue.datasets()],
    "metrics": lambda: [one.card.name for one in catalogue.metrics()],
    "tracks": lambda: [one.name for one in catalogue.tracks()],
    "commands": lambda: [f"dpib {row.name}" for row in BUILT_IN],
}
