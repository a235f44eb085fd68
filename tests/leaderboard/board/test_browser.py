"""The page as a reader has it: a static copy in a headless Chromium."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CELL, MARKS, PATIENCE, open_page
from store_maker import PAYLOAD, board_of, sample_records, write_store

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = MARKS


def _methods(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("tbody th").all_inner_texts()]


def _export(page: Any, kind: str) -> str:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=kind, exact=True).click()
    return Path(waiting.value.path()).read_bytes().decode()


def test_the_landing_page_explains_itself_and_draws_curves(page: Any, address: str) -> None:
    open_page(page, address, "")
    assert "private synthetic images" in page.locator("h1").inner_text()
    assert page.locator("svg.plot .series").count() >= 3
    assert "Alpha" in page.locator("main").inner_text()


def test_the_table_shows_ranks_references_and_the_papers_rows(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    ranks = page.locator("tbody tr:not(.space) td:first-child").all_inner_texts()
    assert ranks[:6] == ["1–2", "1–2", "3", "4", "ref.", "ref."] and "paper" in ranks
    assert "best of three classifiers" in page.locator(".viewport ~ .note").inner_text()


def test_sorting_moves_rows_and_not_ranks(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    page.locator("th[data-column='accuracy[synv]'] button").click()
    assert _methods(page)[0] == "Real images (not private)"
    page.locator("th[data-column='accuracy[synv]'] button").click()
    assert page.locator("th[data-column='accuracy[synv]']").get_attribute("aria-sort") == "ascending"
    assert _methods(page)[0] == "Uniform noise"
    beta = page.locator("tbody tr", has_text="Beta")
    assert beta.locator("td").first.inner_text() == "3"


def test_search_and_filters_keep_ranks_and_references(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    page.get_by_role("searchbox").fill("beta")
    methods = _methods(page)
    assert "Beta + omniglot-28" in methods and "Alpha" not in methods
    assert "Real images (not private)" in methods and "PrivImage" in methods
    assert page.locator("tbody tr", has_text="Beta").locator("td").first.inner_text() == "3"
    page.get_by_role("searchbox").fill("")
    page.get_by_text("Filters", exact=True).click()
    page.locator("fieldset[data-filter=noise]").get_by_label("input").check()
    assert "DP-MERF" in _methods(page) and "Beta + omniglot-28" not in _methods(page)
    assert page.locator("tbody tr:not(.paper)", has_text="DP-MERF").locator("td").first.inner_text() == "1–2"


def test_self_reported_rows_come_only_when_asked_for_and_show_no_score(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    assert "Boaster" not in _methods(page) and "1 self-reported" not in _methods(page)
    open_page(page, address, f"{CELL}&level=0")
    assert "Boaster" in _methods(page)
    assert "99" not in page.locator("tbody tr", has_text="Boaster").inner_text()


def test_a_deep_link_restores_the_whole_view(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    page.get_by_role("searchbox").fill("a")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Hardware").check()
    page.locator("th[data-column='precision'] button").click()
    link, before = page.evaluate("location.href"), (_methods(page), page.locator("thead").inner_text())
    page.goto("about:blank")
    page.goto(link)
    page.locator("main h1").wait_for()
    assert (_methods(page), page.locator("thead").inner_text()) == before
    assert page.get_by_role("searchbox").input_value() == "a" and "Hardware" in before[1]


def test_an_export_is_exactly_the_view(page: Any, address: str) -> None:
    open_page(page, address, f"{CELL}&sort=fd-effnet:asc&cols=accuracy[noisy-senv],fd-effnet,hardware,recall")
    shown = _methods(page)
    rows = list(csv.DictReader(io.StringIO(_export(page, "CSV"))))
    assert [row["label"].removeprefix("'") for row in rows] == shown
    assert list(rows[0])[:6] == ["rank", "label", "accuracy[noisy-senv]", "fd-effnet", "recall", "hardware"]
    assert float(rows[1]["accuracy[noisy-senv]"]) == 82.5
    plain = json.loads(_export(page, "JSON"))
    assert [row["label"] for row in plain["rows"]] == shown
    assert plain["rows"][1]["missing"]["recall"] == "Undefined: invented gap"
    latex = _export(page, "LaTeX")
    assert latex.count("\\\\\n") == len(shown) + 1 and "$\\pm$" in latex


def test_text_that_looks_like_a_formula_is_quoted_and_numbers_are_not(page: Any, address: str) -> None:
    open_page(page, address, f"{CELL}&cols=hardware")
    assert "'=HYPERLINK(1)" in _export(page, "CSV")
    texts = ["=1", "+1", "-2+3", "@SUM", "\tx", "\rx", "\0x", "＝1", "＋1", "－1", "＠x"]
    script = """async (texts) => {
        const {safeText, toCsv} = await import(new URL('widget/export.js', location.href));
        const column = {key: 'x', number: true, value: (row) => row.x, text: (row) => row.x};
        return [texts.map(safeText), toCsv([{x: -2.5, kind: 'run'}], [column])];
    }"""
    quoted, numbers = page.evaluate(script, texts)
    assert quoted == [f"'{text}" for text in texts]
    assert numbers.splitlines()[1] == "-2.5,run"


def test_a_board_opens_where_most_is_known(page: Any, address: str) -> None:
    open_page(page, address, "")
    script = """async (cells) => {
        const {defaults} = await import(new URL('widget/page_table.js', location.href));
        const rows = cells.map(([dataset, epsilon, level]) => ({track: 'lite-v1', dataset, epsilon, level}));
        const board = {trackNames: () => ['lite-v1'], rows, card: () => null};
        return [{}, {dataset: 'fashion-mnist'}, {eps: '0.2'}].map((state) => defaults(board, state).state.eps);
    }"""
    cells = [("mnist", 1, 1), ("mnist", 10, 1), ("mnist", 10, 1), ("mnist", 20, 0), ("mnist", 20, 0), ("mnist", 20, 0)]
    cells += [("fashion-mnist", 0.2, 1), ("fashion-mnist", 1, 1)]
    assert page.evaluate(script, cells) == ["10", "0.2", "0.2"]


@pytest.mark.parametrize("view", ["", "#/table?track=lite-v1&dataset=mnist&eps=1", "#/method/attack", "#/method"])
def test_hostile_text_appears_literally(page: Any, address: str, view: str) -> None:
    open_page(page, address, view)
    assert PAYLOAD in page.locator("main").inner_text()
    assert page.locator("main img").count() == 0 and page.title() != "owned"


def test_a_hostile_record_appears_literally_on_its_page(page: Any, address: str) -> None:
    open_page(page, address, "#/method/attack")
    page.locator("tbody a[href^='#/record/']").first.click()
    page.locator(".statement").wait_for()
    assert page.locator(".statement").inner_text() == PAYLOAD
    assert page.locator("main img").count() == page.locator("main img.grid").count() == 1
    assert page.title() != "owned" and page.locator("main script").count() == 0


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString", "%00", "%E0%A4%A", "<b>"])
def test_strange_names_in_an_address_break_nothing(page: Any, address: str, name: str) -> None:
    for kind in ("method", "dataset", "metric"):
        open_page(page, address, f"#/{kind}/{name}")
        assert page.locator("h1").inner_text() == f"No {kind} of this name"


def test_an_empty_cell_says_what_it_means(page: Any, address: str) -> None:
    open_page(page, address, f"{CELL}&cols=recall")
    cell = page.locator("tbody tr:not(.space) td").nth(1)
    cell.hover()
    assert page.locator("#hint").inner_text() == "Undefined: invented gap"
    page.keyboard.press("Escape")
    assert page.locator("#hint").is_hidden()


def test_the_table_is_walked_by_keyboard(page: Any, address: str) -> None:
    open_page(page, address, CELL)
    page.locator("tbody [tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    focused = "() => document.querySelector('dpib-board').shadowRoot.activeElement.innerText"
    assert page.evaluate(focused) == "DP-MERF"
    page.keyboard.press("Enter")
    page.locator("h1", has_text="DP-MERF").wait_for()


def test_a_record_page_shows_all_and_differs_from_another(page: Any, address: str) -> None:
    open_page(page, address, "#/method/alpha")
    page.locator("tbody a[href^='#/record/']").first.click()
    page.locator(".statement").wait_for()
    text = page.locator("main").inner_text()
    for part in ("Privacy statement", "dpib run alpha --dataset", "Accesses to private images", "Ledger, 1 lines"):
        assert part in text
    page.get_by_label("Other record, same dataset").select_option(index=1)
    page.get_by_role("region", name="Differences: Task").wait_for()
    assert "against=" in page.evaluate("location.hash")


def test_two_methods_stand_side_by_side_with_their_samples(page: Any, address: str) -> None:
    open_page(page, address, "#/compare?track=lite-v1&dataset=mnist&a=run:Alpha&b=run:Beta %2B omniglot-28")
    assert "Alpha is better beyond seeds and test set." in page.locator("main").inner_text()
    assert page.locator("img.grid").count() == 4


def test_light_dark_and_the_switch(page: Any, address: str) -> None:
    colour = "() => getComputedStyle(document.querySelector('dpib-board')).backgroundColor"
    page.emulate_media(color_scheme="dark")
    open_page(page, address, CELL)
    dark = page.evaluate(colour)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    for _ in range(2):
        page.locator("button.theme").click()
    assert light != dark == page.evaluate(colour)


@pytest.mark.parametrize(
    "view", ["", CELL, f"{CELL}&level=0", "#/compare", "#/read", "#/submit", "#/method/alpha", "#/dataset/mnist"]
)
def test_a_narrow_screen_does_not_scroll_sideways(page: Any, address: str, view: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, address, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def gradio_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import uvicorn

    from dpib_leaderboard.app import build_app

    board = board_of(write_store(tmp_path_factory.mktemp("store"), sample_records()))
    server = uvicorn.Server(uvicorn.Config(build_app(board), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_gradio_page_shows_the_same_table_and_calls_no_other_site(
    chromium: Any, gradio_address: str, width: int
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 844})
    asked: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.goto(gradio_address + CELL)
    page.locator("tbody th", has_text="Alpha").wait_for(timeout=PATIENCE)
    assert _methods(page)[:3] == ["Alpha", "DP-MERF", "Beta + omniglot-28"]
    box = page.locator("dpib-board").bounding_box()
    assert box["x"] == box["y"] == 0 and box["width"] == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "owned"
    answered = [url for url in asked if not url.startswith((gradio_address, "data:", "blob:"))]
    assert all("iframeResizer" in url or "fonts" in url for url in answered), answered
    assert refused == []  # of Gradio's own interface, which is closed, the page needs nothing
    page.close()
