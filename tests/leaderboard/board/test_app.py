"""The application and the command: Gradio around the widget, no torch, no other site."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from store_maker import board_of, sample_records, write_store
from typer.testing import CliRunner

from dpib.cli.main import app as command_line
from dpib_leaderboard.app import STATIC, build_app
from dpib_leaderboard.board import Board
from dpib_leaderboard.build import builder


def test_the_gradio_page_holds_the_widget_and_the_api_answers_beside_it(tmp_path: Path) -> None:
    board = board_of(write_store(tmp_path / "store", sample_records()))
    board.refresh()
    with TestClient(build_app(board)) as client:
        page = client.get("/")
        assert page.status_code == 200 and "/widget/main.js" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/v1/board").json()["digest"] == board.snapshot["digest"]
        assert client.get("/widget/main.js").headers["content-type"].partition(";")[0].endswith("/javascript")


def test_nobody_can_upload_a_file_or_have_the_board_serve_or_fetch_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "gradio"
    kept.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(kept))
    (kept / "page.html").write_text("<script>alert(1)</script>")
    with TestClient(build_app(board_of(write_store(tmp_path / "store", sample_records()[:1])))) as client:
        upload = client.post("/gradio_api/upload", files={"files": ("page.html", b"<script>alert(1)</script>")})
        assert upload.status_code == 405 and upload.headers["allow"] == "GET, HEAD, OPTIONS"
        others = ("/gradio_api/queue/join", "/gradio_api/run/predict", "/login", "/v1/board", "/")
        assert {client.request(verb, url).status_code for url in others for verb in ("POST", "PUT", "DELETE")} == {405}
        for path in (f"file={kept}/page.html", "file=https://example.org/", "upload_progress?upload_id=1", "deep_link"):
            for address in (f"/gradio_api/{path}", f"/%67radio_api/{path}"):
                answer = client.get(address)
                assert answer.status_code == 404 and answer.headers["x-content-type-options"] == "nosniff"
    assert [path.name for path in kept.iterdir()] == ["page.html"]


def test_building_a_snapshot_imports_no_torch() -> None:
    code = "import sys; from dpib_leaderboard.build import build; from dpib_leaderboard.store import open_store; "
    code += "build(open_store(None), 's'); import dpib_leaderboard.app; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command_line, ["leaderboard", *arguments])
    return result.exit_code, result.output


def test_a_static_copy_is_whole_and_may_be_written_again(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", sample_records())
    for _ in range(2):
        code, said = _run("--store", str(store), "--export", str(tmp_path / "site"))
        assert code == 0 and "84 records" in said
    site = tmp_path / "site"
    board = json.loads((site / "v1" / "board.json").read_text())
    for identity in board["records"]["id"]:
        assert (site / "v1" / "records" / f"{identity}.json").is_file()
        assert (site / "v1" / "grids" / f"{identity}.png").is_file()
    assert {path.name for path in STATIC.iterdir()} - {"index.html"} == {p.name for p in (site / "widget").iterdir()}


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    code, said = _run("--export", str(tmp_path))
    assert code == 2 and "not empty" in said and [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("store", ["nowhere", "hf:", "hf:only", "hf:a/b/c"])
def test_a_wrong_store_is_one_clear_message(store: str, tmp_path: Path) -> None:
    code, said = _run("--store", store, "--export", str(tmp_path / "site"))
    assert code == 2 and store in said


def test_the_embedded_store_is_a_board_worth_reading() -> None:
    board = Board(builder(None), "submissions")
    assert board.refresh()
    assert set(board.snapshot["rows"]["kind"]) >= {"paper"}


def test_no_page_names_another_site_to_load_from() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text
        assert text.count("http") == text.count("http://www.w3.org/2000/svg") + text.count("https:\\/\\/") + text.count(
            "http-equiv"
        )
