"""``dpib submit`` and ``dpib review`` as a person uses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from huggingface_hub import HfApi
from localhub import Hub
from making import FILES, Make
from typer.testing import CliRunner, Result

from dpib.cli.main import reported_errors
from dpib.errors import ConfigError
from dpib_leaderboard import limits
from dpib_leaderboard.entries import read_entries
from dpib_leaderboard.hub import HubStore
from dpib_leaderboard.review_command import review
from dpib_leaderboard.reviews import load_review
from dpib_leaderboard.rows import build_rows
from dpib_leaderboard.store import FolderStore, open_store
from dpib_leaderboard.submit_command import submit


def call(function: Callable[..., None], *arguments: object, answer: str | None = None) -> Result:
    class Reported(typer.core.TyperCommand):
        def invoke(self, ctx: Any) -> Any:
            with reported_errors():
                return super().invoke(ctx)

    app = typer.Typer()
    app.command(cls=Reported)(function)
    return CliRunner().invoke(app, [str(one) for one in arguments], input=answer)


def test_a_dry_run_shows_the_row_and_the_files_and_sends_nothing(
    run_folder: Path, tmp_path: Path, in_process: None
) -> None:
    done = call(submit, run_folder, "--to", tmp_path / "store", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "dp-means" in done.stdout and "reference" in done.stdout
    for words in ("record.json", "images.parquet", "This becomes public", "nothing was sent"):
        assert words in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_is_sent_without_consent(answer: str, run_folder: Path, tmp_path: Path, in_process: None) -> None:
    done = call(submit, run_folder, "--to", tmp_path / "store", answer=answer)
    assert done.exit_code == 1
    assert not (tmp_path / "store").exists()


def test_a_folder_gets_the_record_once_and_git_no_images(run_folder: Path, tmp_path: Path, in_process: None) -> None:
    store = tmp_path / "store"
    done = call(submit, run_folder, "--to", store, "--yes", "--without-images")
    assert done.exit_code == 0, done.output
    (added,) = (path for path in store.rglob("*") if path.is_file() and path.name == "record.json")
    assert sorted(path.name for path in added.parent.iterdir()) == sorted(set(FILES) - {limits.IMAGES})
    assert str(added.parent) in done.stdout
    again = call(submit, run_folder, "--to", store, "--yes")
    assert again.exit_code == 1
    assert "in the store already" in again.stderr
    assert "unreviewed" in call(submit, "--to", store, "--status").stdout


def test_what_the_review_would_refuse_is_not_sent(run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / "grid.png").write_bytes(b"GIF89a")
    done = call(submit, run, "--to", tmp_path / "store", "--yes")
    assert done.exit_code == 1
    assert "not a PNG" in done.stderr and "Nothing was sent" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("arguments", "words"), [((), "Name at least one run"), (("nowhere",), "No finished run")])
def test_misuse_is_one_message(arguments: tuple[str, ...], words: str) -> None:
    done = call(submit, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.parametrize("address", ["hf:", "hf:x", "hf:a/b/c", "hf:../x", "hf:a/b?c", "hf:a b/c"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        open_store(address)


def test_a_copy_that_breaks_off_leaves_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(Exception, match="Nothing was added"):
        FolderStore(tmp_path / "other").submit(folder, "/".join(folder.parts[-4:]))
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_review_of_a_folder_writes_its_verdict_and_the_table(make: Make, in_process: None) -> None:
    folder = make()
    root = folder.parents[3]
    done = call(review, folder, "--no-scores")
    assert done.exit_code == 0, done.output
    assert "accepted, trust level 0" in done.stdout
    found = load_review(folder)
    assert found is not None and found.accepted
    import datasets

    rows = datasets.load_dataset(str(root), split="train")
    assert len(rows) == 1 and rows[0]["trust"] == "self-reported"
    assert call(review, folder, "--invalidate", "wrong data").exit_code == 0
    assert "wrong data" in str(load_review(folder))
    assert len(read_entries(root)) == 1


def test_review_of_a_refused_folder_says_why_and_fails(make: Make, no_process: None) -> None:
    folder = make(lambda plain: plain["method"].update(title="<b>x</b>"))
    done = call(review, folder)
    assert done.exit_code == 1
    assert "refused" in done.stdout and "markup" in done.stdout
    assert not (folder / "review.json").exists()


def test_a_pull_request_from_submit_to_the_table(
    hub: Hub, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    """The two commands against the local Hub."""
    monkeypatch.setattr("dpib_leaderboard.hub.HubStore", partial(HubStore, endpoint=hub.endpoint))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    HubStore("org/results", endpoint=hub.endpoint, token="hf_maintainer").create()
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    sent = call(submit, run_folder, "--to", "hf:org/results", "--yes", "--contact", "alice at example.org")
    assert sent.exit_code == 0, sent.output
    assert sent.stdout.strip().endswith("/datasets/org/results/discussions/1")
    assert "open" in call(submit, "--to", "hf:org/results", "--status").stdout
    monkeypatch.setenv("HF_TOKEN", "hf_maintainer")
    done = call(review, "hf:org/results#1", "--publish", "--no-scores")
    assert done.exit_code == 0, done.output
    main = hub.repos["org/results"].resolve("main")
    assert main is not None
    (record,) = (json.loads(content) for path, content in main.files.items() if path.endswith("record.json"))
    assert (record["who"]["account"], record["who"]["contact"]) == ("alice", "alice at example.org")
    assert "merged" in call(submit, "--to", "hf:org/results", "--status").stdout
    api = HfApi(hub.endpoint, token="hf_alice")
    from huggingface_hub import CommitOperationAdd

    bad = [CommitOperationAdd("README.md", b"mine")]
    api.create_commit("org/results", bad, commit_message="x", repo_type="dataset", create_pr=True)
    refused = call(review, f"{hub.endpoint}/datasets/org/results/discussions/2", "--publish")
    assert refused.exit_code == 1
    pull = hub.repos["org/results"].pulls[2]
    assert pull.status == "closed" and "only adds" in pull.comments[0]


def test_an_empty_store_has_a_table_too(tmp_path: Path) -> None:
    assert build_rows(tmp_path) == 0
    assert (tmp_path / "rows.parquet").exists()
