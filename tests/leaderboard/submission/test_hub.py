"""The store on a Hub, over HTTP and by the real client: submit, review, merge, refresh, and everything that fails."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from localhub import Hub, Pull, cutting_proxy, problem
from making import Make

from dpib.errors import RecordError, StorageError
from dpib_leaderboard import limits
from dpib_leaderboard.board import Board
from dpib_leaderboard.build import build
from dpib_leaderboard.entries import read_entries
from dpib_leaderboard.hub import HubStore
from dpib_leaderboard.review import examine, report
from dpib_leaderboard.reviews import Check, Review
from dpib_leaderboard.store import LIGHT

REPO = "org/results"


@pytest.fixture
def stores(hub: Hub, tmp_path: Path) -> tuple[HubStore, HubStore]:
    """The maintainer's store, created, and a submitter's."""
    maintainer = HubStore(REPO, endpoint=hub.endpoint, token="hf_maintainer", cache=tmp_path / "maintainer")
    maintainer.create()
    return maintainer, HubStore(REPO, endpoint=hub.endpoint, token="hf_alice", cache=tmp_path / "alice")


def place_of_folder(folder: Path) -> str:
    return "/".join(folder.parts[-4:])


def accepted(folder: Path) -> Review:
    """A review as it would be; the scores of these tests do not matter."""
    record = json.loads((folder / "record.json").read_text())["id"]
    checks = (Check(name="all", holds=True),)
    return Review(record=record, accepted=True, trust_level=0, reviewed="", reviewer="", attempts=1, checks=checks)


def commit_of(store: HubStore) -> str:
    commit = store.snapshot().commit
    assert commit is not None
    return commit


def read_submission(stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path) -> tuple[Path, str, str]:
    """Let alice send a record and the maintainer read it; return folder, place and commit of the pull request."""
    maintainer, alice = stores
    folder = make()
    place = place_of_folder(folder)
    alice.submit(folder, place)
    *_, head = maintainer.fetch(1, tmp_path / "scratch")
    return folder, place, head


def test_submit_review_merge_refresh(hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path) -> None:
    maintainer, alice = stores
    assert alice.account() == "alice"
    assert read_entries(maintainer.snapshot().folder) == []
    folder = make(lambda plain: plain["who"].update(account="alice"))
    place = place_of_folder(folder)
    receipt = alice.submit(folder, place)
    assert receipt.number == 1
    repo = hub.repos[REPO]
    assert len(list(repo.history(repo.resolve("refs/pr/1")))) == len(list(repo.history(repo.resolve("main")))) + 1
    assert alice.submissions()[0][0] == "open"

    fetched, found, author, head = maintainer.fetch(1, tmp_path / "scratch")
    assert (found, author) == (place, "alice")
    assert {p.name: p.read_bytes() for p in fetched.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}
    maintainer.accept(1, place, accepted(folder).to_json(), head, commit_of(maintainer))
    maintainer.publish_rows()

    fresh = alice.snapshot()
    (stored,) = read_entries(fresh.folder)
    assert (stored.place, stored.review.accepted, fresh.stale) == (place, True, None)
    assert not (fresh.folder / place / "images.parquet").exists()
    assert alice.submissions()[0][0] == "merged"
    names = {path.rpartition("/")[2] for path in repo.resolve("main").files if path.startswith(place)}
    assert names == {*limits.FILES, limits.IMAGES, limits.REVIEW}

    code = (
        f"import datasets; rows = datasets.load_dataset('{REPO}', split='train'); print(len(rows), rows[0]['method'])"
    )
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert answer.stdout.split() == ["1", "dp-means"], answer.stderr[-2000:]


def test_the_board_refreshes_after_a_merge_and_fetches_only_what_is_new(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    maintainer, alice = stores
    reader = HubStore(REPO, endpoint=hub.endpoint, cache=tmp_path / "board")
    board = Board(lambda: build(reader, "hf:org/results"), "hf:org/results")
    first, second = make(), make(lambda plain: plain["who"].update(account="alice"))
    for number, folder in enumerate((first, second), start=1):
        place = place_of_folder(folder)
        alice.submit(folder, place)
        *_, head = maintainer.fetch(number, tmp_path / f"scratch{number}")
        maintainer.accept(number, place, accepted(folder).to_json(), head, commit_of(maintainer))
        hub.files_sent.clear()
        assert board.refresh() and board.problem == ""
        assert len(board.snapshot["records"]["id"]) == number
        assert sorted(hub.files_sent) == sorted(f"{place}/{name}" for name in LIGHT)
    entry = board.entry(second.name)
    assert entry is not None and entry.place == place and (entry.path / "grid.png").is_file()
    good, hub.status = board.snapshot, 503
    assert board.refresh() and board.snapshot["digest"] == good["digest"]
    assert "503" in board.problem and board.snapshot["built"] in board.problem


def test_only_the_newest_commit_and_the_one_before_stay_on_the_disk(
    hub: Hub, stores: tuple[HubStore, HubStore]
) -> None:
    maintainer, alice = stores
    commits = [commit_of(alice)]
    for number in range(3):
        operations = [CommitOperationAdd("README.md", f"{number}".encode())]
        maintainer.api.create_commit(REPO, operations, commit_message="x", repo_type="dataset")
        commits += [commit_of(alice), commit_of(alice)]
    assert len(set(commits)) == 4
    kept = {name for commit in commits[-3:] for name in (commit, f"{commit}.json")}
    assert {path.name for path in alice.cache.iterdir()} == {*kept, "last-good.json"}


def test_reading_never_sends_a_token(hub: Hub, stores: tuple[HubStore, HubStore]) -> None:
    hub.tokens_seen.clear()
    stores[1].snapshot()
    assert set(hub.tokens_seen) == {None}


def test_hub_down_or_slow_serves_the_last_good_snapshot_with_its_date(
    hub: Hub, stores: tuple[HubStore, HubStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = stores[1].snapshot()
    hub.status = 503
    kept = stores[1].snapshot()
    assert (kept.commit, kept.date, kept.folder) == (good.commit, good.date, good.folder)
    assert kept.stale and good.date in kept.stale and "503" in kept.stale
    hub.status, hub.delay = 0, 2.0
    monkeypatch.setattr(limits, "HUB_SECONDS", 0.2)
    slow = stores[1].snapshot().stale
    assert slow and "does not answer in time" in slow and good.date in slow
    hub.delay, hub.status = 0.0, 503
    with pytest.raises(StorageError, match="No earlier snapshot"):
        HubStore(REPO, endpoint=hub.endpoint, cache=tmp_path / "new").snapshot()
    unreachable = HubStore(REPO, endpoint="http://127.0.0.1:9", cache=stores[1].cache)
    assert good.date in (unreachable.snapshot().stale or "")


@pytest.mark.parametrize("token", ["hf_wrong", None])
def test_a_wrong_or_missing_token_is_one_message(
    token: str | None, hub: Hub, stores: tuple[HubStore, HubStore], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    stranger = HubStore(REPO, endpoint=hub.endpoint, token=token)
    with pytest.raises(StorageError, match=r"Log in first: `hf auth login`"):
        stranger.account()
    folder = make()
    with pytest.raises(StorageError, match=r"Nothing was sent"):
        stranger.submit(folder, place_of_folder(folder))
    assert not hub.repos[REPO].pulls


def test_a_refused_pull_request_is_one_message(hub: Hub, stores: tuple[HubStore, HubStore], make: Make) -> None:
    hub.refuse = True
    folder = make()
    with pytest.raises(StorageError, match=r"may not do that \(403\)\. Nothing was sent"):
        stores[1].submit(folder, place_of_folder(folder))
    assert not hub.repos[REPO].pulls


def test_a_hub_that_does_not_answer_is_one_message(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HUB_SECONDS", 0.3)
    folder = make()
    slow = HubStore(REPO, endpoint=hub.endpoint, token="hf_alice")
    hub.delay = 3.0
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(StorageError, match=r"does not answer in time\. Nothing was sent"):
        slow.submit(folder, place_of_folder(folder))
    assert not hub.repos[REPO].pulls


def test_no_such_store_is_one_message(hub: Hub, make: Make) -> None:
    folder = make()
    with pytest.raises(StorageError, match="does not exist"):
        HubStore("org/nothing", endpoint=hub.endpoint, token="hf_alice").submit(folder, place_of_folder(folder))


def test_a_connection_lost_in_mid_upload_sends_nothing(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    folder = make()
    before = dict(hub.repos[REPO].commits)
    with cutting_proxy(hub.endpoint, after=40_000) as endpoint:
        broken = HubStore(REPO, endpoint=endpoint, token="hf_alice", cache=tmp_path / "broken")
        with pytest.raises(StorageError, match=r"connection to the Hub failed.*Nothing was sent"):
            broken.submit(folder, place_of_folder(folder))
    assert hub.repos[REPO].commits == before
    assert not hub.repos[REPO].pulls
    assert stores[1].submit(folder, place_of_folder(folder)).number == 1


def test_t18_a_pull_request_that_changes_after_its_review_is_not_merged(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    maintainer = stores[0]
    folder, place, head = read_submission(stores, make, tmp_path)
    api = HfApi(hub.endpoint, token="hf_alice")
    late = [CommitOperationAdd(f"{place}/grid.png", b"other")]
    api.create_commit(REPO, late, commit_message="late", repo_type="dataset", revision="refs/pr/1")
    with pytest.raises(RecordError, match=r"changed meanwhile \(412\).*not merged"):
        maintainer.accept(1, place, accepted(folder).to_json(), head, commit_of(maintainer))
    assert hub.repos[REPO].pulls[1].status == "open"


OTHER = "lite-v1/mnist/mine/0123456789abcdef/review.json"


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        *(("refs/pr/1", path) for path in ("README.md", "results.py", OTHER, "{place}/grid.png", "{place}/x")),
        ("main", OTHER),
    ],
)
def test_t18_what_comes_between_review_and_merge_is_named(
    path: str, ref: str, hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    """A push of the author to the pull request, or another maintainer's merge, after the store was compared."""
    maintainer = stores[0]
    folder, place, head = read_submission(stores, make, tmp_path)
    path = path.format(place=place)
    hub.before_merge = lambda repo: repo.push(ref, "alice", **{path: b"mine now"})
    with pytest.raises(RecordError, match="another maintainer") as raised:
        maintainer.accept(1, place, accepted(folder).to_json(), head, commit_of(maintainer))
    assert path in str(raised.value) and "record.json" not in str(raised.value)


def test_t18_a_store_that_changed_since_the_review_read_it_gets_nothing(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    maintainer = stores[0]
    folder, place, head = read_submission(stores, make, tmp_path)
    read = commit_of(maintainer)
    hub.repos[REPO].push("main", "org", **{"README.md": b"new"})
    with pytest.raises(RecordError, match="has changed since the review read it"):
        maintainer.accept(1, place, accepted(folder).to_json(), head, read)
    assert hub.repos[REPO].pulls[1].status == "open"
    assert hub.repos[REPO].resolve("refs/pr/1").oid == head


def test_a_pull_request_that_could_not_be_merged_is_as_its_author_left_it(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    """Else the next review would find the review in it, and close it for that."""
    maintainer = stores[0]
    folder, place, head = read_submission(stores, make, tmp_path)
    hub.before_merge = lambda repo: problem(403, "", "merging is not possible now")
    with pytest.raises(StorageError, match="not merged"):
        maintainer.accept(1, place, accepted(folder).to_json(), head, commit_of(maintainer))
    hub.before_merge = lambda repo: None
    *_, head = maintainer.fetch(1, tmp_path / "second")
    maintainer.accept(1, place, accepted(folder).to_json(), head, commit_of(maintainer))
    assert hub.repos[REPO].pulls[1].status == "merged"


def test_what_the_hub_does_not_give_out_is_no_reason_to_close_a_pull_request(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    maintainer, alice = stores
    folder = make()
    alice.submit(folder, place_of_folder(folder))
    for status in (400, 404, 412):
        hub.status = status
        with pytest.raises(StorageError, match="Reading pull request 1"):
            maintainer.fetch(1, tmp_path / str(status))


def test_the_table_is_made_again_when_the_store_changes_while_it_is_published(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make
) -> None:
    maintainer, _ = stores
    repo = hub.repos[REPO]
    waiting = [
        {f"{place_of_folder(folder)}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        for folder in (make(), make(lambda plain: plain["who"].update(account="alice")))
    ]
    repo.push("main", "org", **waiting.pop())
    hub.before_commit = lambda repo: repo.push("main", "org", **waiting.pop()) if waiting else None
    maintainer.publish_rows()
    assert len(pandas.read_parquet(io.BytesIO(repo.resolve("main").files["rows.parquet"]))) == 2
    repo.push("main", "org", **{"rows.parquet": b""})
    hub.before_commit = lambda repo: repo.push("main", "org", **{"README.md": b"again"})
    with pytest.raises(RecordError, match="changed at each of"):
        maintainer.publish_rows()


def test_a_table_is_not_made_of_an_old_store(hub: Hub, stores: tuple[HubStore, HubStore]) -> None:
    maintainer, _ = stores
    maintainer.snapshot()
    hub.status = 503
    with pytest.raises(StorageError, match=r"store as of.*table is that of before"):
        maintainer.publish_rows()


def test_t20_refused_pull_requests_count_too(hub: Hub, stores: tuple[HubStore, HubStore]) -> None:
    ages = {"alice": (0, 1, 20, 23, 25, 0), "bob": (0,)}
    accounts = [(account, hours) for account, several in ages.items() for hours in several]
    for number, (account, hours) in enumerate(accounts, start=1):
        created = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        hub.repos[REPO].pulls[number] = Pull(number, "Record", account, "closed", created=created)
    assert stores[0].recently_sent("alice", 6) == 4  # the fifth is of the day before yesterday, the sixth itself
    assert stores[0].recently_sent("alice", 3) == 2
    assert stores[0].recently_sent("bob", 7) == 0


SECOND = "demo-v1/digits/dp-means/0123456789abcdef/record.json"
OTHERS = {
    "readme": [CommitOperationAdd("README.md", b"mine now")],
    "removed readme": [CommitOperationDelete("README.md")],
    "script": [CommitOperationAdd("results.py", b"import os")],
    "second record": [CommitOperationAdd(SECOND, b"{}")],
    "review": [CommitOperationAdd("demo-v1/digits/dp-means/{id}/review.json", b"{}")],
    "rows": [CommitOperationAdd("rows.parquet", b"PAR1")],
    "deep": [CommitOperationAdd("a/b/c/d/e/record.json", b"{}")],
    "workflow": [CommitOperationAdd(".github/workflows/x.yml", b"")],
}


@pytest.mark.parametrize("case", OTHERS)
def test_t18_t19_a_pull_request_that_does_anything_else_is_refused(
    case: str, hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    folder = make()
    place = place_of_folder(folder)
    operations = [CommitOperationAdd(f"{place}/{path.name}", path) for path in sorted(folder.iterdir())]
    for other in OTHERS[case]:
        other.path_in_repo = other.path_in_repo.replace("{id}", folder.name)
        operations.append(other)
    api = HfApi(hub.endpoint, token="hf_bob")
    api.create_commit(REPO, operations, commit_message="x", repo_type="dataset", create_pr=True)
    with pytest.raises(RecordError, match=r"only adds|adds one"):
        stores[0].fetch(1, tmp_path / "scratch")


def test_t18_an_account_cannot_sign_for_another(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path, no_process: None
) -> None:
    maintainer, alice = stores
    folder = make(lambda plain: plain["who"].update(account="bob"))
    alice.submit(folder, place_of_folder(folder))
    fetched, place, author, _ = maintainer.fetch(1, tmp_path / "scratch")
    inspection, review = examine(fetched, [], place=place, author=author)
    assert review is not None and "sent by alice, signed bob" in " ".join(review.reasons)
    maintainer.refuse(1, report(inspection, review))
    pull = hub.repos[REPO].pulls[1]
    assert pull.status == "closed"
    assert "account" in pull.comments[0]


def test_a_submission_made_before_another_was_merged_is_still_read(
    hub: Hub, stores: tuple[HubStore, HubStore], make: Make, tmp_path: Path
) -> None:
    maintainer, alice = stores
    first, second = make(), make(lambda plain: plain["who"].update(account="alice"))
    for folder in (first, second):
        alice.submit(folder, place_of_folder(folder))
    *_, head = maintainer.fetch(1, tmp_path / "one")
    maintainer.accept(1, place_of_folder(first), accepted(first).to_json(), head, commit_of(maintainer))
    assert maintainer.fetch(2, tmp_path / "two")[1] == place_of_folder(second)
    assert len(read_entries(maintainer.snapshot().folder)) == 1
