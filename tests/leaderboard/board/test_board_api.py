"""The API is read-only, cached, compressed and open; a silent store leaves the last good snapshot."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from store_maker import board_of, make_record, review_of, sample_records, write_store

from dpib.config import parse_override
from dpib.errors import StorageError
from dpib.spec import RunSpec
from dpib_leaderboard.api import build_api
from dpib_leaderboard.board import Board, command_of
from dpib_leaderboard.build import Built, build
from dpib_leaderboard.export import export_site
from dpib_leaderboard.store import FolderStore


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    board = board_of(write_store(tmp_path_factory.mktemp("store"), sample_records()))
    return board


@pytest.fixture(scope="module")
def client(board: Board) -> Iterator[TestClient]:
    with TestClient(build_api(board)) as client:
        yield client


ADDRESSES = ["/v1/board", "/v1/records", "/v1/methods", "/v1/datasets"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_answer_has_an_etag_and_is_not_sent_twice(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-encoding"] == "gzip"
    again = client.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == answer.headers["etag"]
    assert client.get(f"{address}.json").json() == answer.json()


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_can_be_written(client: TestClient, address: str) -> None:
    assert {client.request(verb, address).status_code for verb in ("POST", "PUT", "PATCH", "DELETE")} == {405}


def test_without_gzip_the_answer_is_plain(client: TestClient) -> None:
    assert "content-encoding" not in client.get("/v1/board", headers={"Accept-Encoding": "identity"}).headers


def test_records_are_filtered_and_paged(client: TestClient) -> None:
    found = client.get("/v1/records", params={"method": "alpha", "dataset": "mnist", "limit": 2, "offset": 1}).json()
    assert found["total"] == 6 and len(found["records"]) == 2
    assert {one["method"] for one in found["records"]} == {"alpha"}
    assert client.get("/v1/records", params={"limit": 10**6}).status_code == 422


def test_a_record_comes_with_ledger_review_and_command(client: TestClient, board: Board) -> None:
    entry = next(one for one in board.entries() if one.record.method.name == "beta")
    for identity in (entry.record.id, entry.record.id[:16], f"{entry.record.id[:16]}.json"):
        page = client.get(f"/v1/records/{identity}").json()
        assert page["record"]["id"] == entry.record.id and page["ledger"] and page["level"] == 1
    assert page["command"] == command_of(entry.record.task.spec)
    assert page["command"].endswith("--public omniglot-28")
    assert client.get(f"/v1/grids/{entry.record.id[:16]}.png").content.startswith(b"\x89PNG")


def test_a_record_comes_with_the_epsilon_of_its_review(tmp_path: Path) -> None:
    record = make_record(spent=0.9901)
    review = review_of(record, spent_epsilon=0.999, second_opinion=1.01)
    with TestClient(build_api(board_of(write_store(tmp_path, [(record, review)])))) as client:
        page = client.get(f"/v1/records/{record.id}").json()
    assert (page["spent_epsilon"], page["second_opinion"]) == (0.999, 1.01)
    assert page["record"]["privacy"]["spent_epsilon"] == 0.9901


OVERRIDES = {
    "substitution": "$(touch owned)",
    "backquotes": "`touch owned`",
    "quotes": """a "b" 'c' \\ $HOME""",
    "letters": "µ é 😀",
    "like a number": "10",
    "empty": "",
    "truth": True,
    "count": 3,
    "rate": 1e-05,
    "$(touch owned)": 1.5,
}


def test_t11_a_copied_command_is_words_to_a_shell_and_sets_what_was_set(tmp_path: Path) -> None:
    spec = RunSpec(method="mine", dataset="mnist", epsilon=1.0, track="lite-v1", overrides=OVERRIDES)
    command = command_of(spec)
    print_words = command.replace("dpib", "printf '%s\\0'", 1)
    words = subprocess.run(["sh", "-c", print_words], cwd=tmp_path, capture_output=True, text=True).stdout.split("\0")
    assert words[:-1] == shlex.split(command)[1:]
    assert list(tmp_path.iterdir()) == []
    given = dict(parse_override(word) for word in words[words.index("--set") + 1 : -1 : 2])
    assert given == OVERRIDES and [type(value) for value in given.values()] == [type(v) for v in OVERRIDES.values()]


def test_accuracy_by_class_is_in_the_answer_and_in_the_static_copy(tmp_path: Path) -> None:
    record = make_record("honest", by_class=[90.0 - label for label in range(10)])
    board = board_of(write_store(tmp_path / "store", [(record, review_of(record))]))
    export_site(board, tmp_path / "site")
    with TestClient(build_api(board)) as client:
        page = client.get(f"/v1/records/{record.id}").json()
    assert [one["value"] for one in page["scores"] if one["metric"] == "accuracy-class-9"] == [81.0]
    assert json.loads((tmp_path / f"site/v1/records/{record.id[:16]}.json").read_text()) == page


@pytest.mark.parametrize("identity", ["0" * 64, "..", "%2e%2e%2fREADME.md", "record.json", "%00", "a" * 300])
def test_an_unknown_id_reads_no_file(client: TestClient, identity: str) -> None:
    assert client.get(f"/v1/records/{identity}").status_code == 404
    assert client.get(f"/v1/grids/{identity}.png").status_code == 404


def test_a_silent_store_leaves_the_last_good_snapshot_with_its_date(tmp_path: Path) -> None:
    record = make_record()
    store = FolderStore(write_store(tmp_path / "store", [(record, review_of(record))]))
    silent = threading.Event()

    def read() -> Built:
        if silent.is_set():
            raise StorageError("down")
        return build(store, "hf:org/repo")

    kept = tmp_path / "kept.json"
    board = Board(read, "hf:org/repo", kept)
    assert board.refresh()
    good = board.snapshot
    silent.set()
    assert not board.refresh() and board.snapshot is good
    restarted = Board(read, "hf:org/repo", kept)
    assert not restarted.refresh() and restarted.snapshot["built"] == good["built"]
    with TestClient(build_api(restarted)) as client:
        plain = client.get("/v1/board").json()
    assert "does not answer" in plain["stale"] and plain["digest"] == good["digest"]


def test_a_first_start_says_when_to_ask_again_until_the_store_was_read(tmp_path: Path) -> None:
    board = Board(lambda: build(FolderStore(tmp_path), "tests"), "tests", tmp_path / "kept.json")
    with TestClient(build_api(board)) as client:
        early = client.get("/v1/board")
        assert early.status_code == 503 and early.headers["retry-after"] == "1"
        board.refresh()
        assert client.get("/v1/board").status_code == 200
        assert Board(lambda: build(FolderStore(tmp_path), "tests"), "tests", tmp_path / "kept.json").can_answer


def test_links_in_a_store_are_not_followed(tmp_path: Path) -> None:
    record = make_record()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    store = write_store(tmp_path / "store", [(record, None)])
    folder = next(store.glob("*/*/*/*"))
    for name in ("ledger.jsonl", "grid.png"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(secret)
    board = board_of(store)
    with TestClient(build_api(board)) as client:
        page = client.get(f"/v1/records/{record.id}").json()
        assert page["ledger"] == [] and page["review"] is None and not page["grid"]
        assert client.get(f"/v1/grids/{record.id[:16]}.png").status_code == 404
    (folder / "review.json").symlink_to(secret)
    with pytest.warns(UserWarning, match="is a link"):
        assert list(board_of(store).entries()) == []
