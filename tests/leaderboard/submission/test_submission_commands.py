"""``dpib submit`` and ``dpib review`` as a person uses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from huggingface_hub import CommitOperationAdd, HfApi
from localhub import Hub
from making import FILES, Make, changed
from typer.testing import CliRunner, Result

from dpib.audit.levels import AuditEvidence, CheckEvidence
from dpib.cli.main import reported_errors
from dpib.errors import ConfigError
from dpib.files import SUBMISSIONS
from dpib.isolation.jail import Protections
from dpib.records import RunRecord, load_record
from dpib.verdicts import SUITE_VERSION
from dpib_leaderboard import limits
from dpib_leaderboard import review as reviewing
from dpib_leaderboard.commands import leaderboard
from dpib_leaderboard.entries import Entry, read_entries
from dpib_leaderboard.hub import HubStore
from dpib_leaderboard.recompute import Recomputed
from dpib_leaderboard.review_command import review
from dpib_leaderboard.reviews import Check, Reproduction, Review, load_review
from dpib_leaderboard.rows import build_rows
from dpib_leaderboard.store import FolderStore, Snapshot, open_store
from dpib_leaderboard.submit import preview
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


def test_what_a_plugin_prints_is_no_row_of_the_preview(
    run_folder: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reviewing.recompute

    def talking(*arguments: Any, **options: Any) -> Recomputed:
        print("hello from a plugin")
        return whole(*arguments, **options)

    monkeypatch.setattr(reviewing, "recompute", talking)
    done = call(submit, run_folder, "--to", tmp_path / "store", "--dry-run")
    assert "hello from a plugin" in done.stderr and "hello" not in done.stdout


def test_a_folder_that_is_no_store_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    done = call(submit, "--status", "--to", tmp_path / "absent")
    assert done.exit_code == 2 and f"No results store at {tmp_path / 'absent'}" in done.stderr
    part = SUBMISSIONS / "lite-v1"
    for ask in (partial(call, submit, "--status", "--to"), partial(call, leaderboard, "--export", "site", "--store")):
        done = ask(part)
        assert done.exit_code == 2 and f"{part} is no results store, but " in done.stderr, done.output


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


def test_what_plugins_print_is_no_part_of_the_report(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpib_leaderboard.review.recompute", lambda *_, **__: print("hello") or Recomputed(checks=()))
    done = call(review, make(), "--no-scores")
    assert done.stdout.startswith("**accepted") and "hello" not in done.stdout
    assert "hello" in done.stderr


def test_a_check_that_has_nothing_to_add_ends_with_its_name(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpib_leaderboard.review.recompute", lambda *_, **__: Recomputed(checks=()))
    lines = call(review, make(), "--no-scores").stdout.splitlines()
    assert "    holds        not sent before" in lines
    assert not [line for line in lines if line.startswith("    holds") and line.rstrip().endswith(":")]


def test_an_id_to_supersede_that_no_record_has_is_told_where_to_find_it(
    run_folder: Path, tmp_path: Path, in_process: None
) -> None:
    done = call(submit, run_folder, "--to", tmp_path / "store", "--dry-run", "--supersedes", "abc")
    assert done.exit_code == 1
    assert "0 ids of records in the store begin so" in done.stderr and "--status lists them" in done.stderr


def evidence_of(folder: Path) -> dict[str, Any]:
    """What maintainers found out about the code of a record: a reproduction, a check, an audit."""
    code = load_record(folder / "record.json").method.source_digest
    both = {"code_digest": code, "suite_version": SUITE_VERSION, "date": "2026-02-03"}
    return {
        "reproduction": Reproduction(
            method_digest=code,
            seeds=(1, 2, 3),
            values=(80.0, 81.0, 82.0),
            spent_epsilon=(10.0, 10.0, 10.0),
            submitted=81.0,
            tolerance=4.0,
            agrees=True,
            protections=Protections(network="cut", files="confined", processes="namespace", privileges="none"),
        ),
        "code_checks": (CheckEvidence(profile="full", passed=True, **both),),
        "audits": (AuditEvidence(profile="standard", verdict="not refuted", power=0.95, **both),),
    }


@pytest.fixture
def scored(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recomputation agree with every score."""
    answer = Recomputed(checks=(Check(name="stub", holds=True),), scores=record.scores)
    monkeypatch.setattr("dpib_leaderboard.review.recompute", lambda *args, **options: answer)


def test_a_second_review_keeps_what_the_first_one_knew(make: Make, scored: None) -> None:
    folder = make()
    assert call(review, folder).exit_code == 0
    first = load_review(folder)
    assert first is not None and first.trust_level == 1
    first.model_copy(update={**evidence_of(folder), "reviewed": "2026-01-01", "attempts": 7}).save(folder)
    assert call(review, folder).exit_code == 0
    second = load_review(folder)
    assert second is not None and second.trust_level == 3
    assert (second.since, second.attempts) == ("2026-01-01", 7) and second.reviewed > "2026-01-01"
    assert len(second.audits) == len(second.code_checks) == 1


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"audits": ("refuted",)}, 0),
        ({"checks": (Check(name="reproduced", holds=False, detail="50.00 submitted"),)}, 0),
    ],
)
def test_a_second_review_forgives_nothing(change: dict[str, Any], level: int, make: Make, scored: None) -> None:
    folder = make()
    assert call(review, folder).exit_code == 0
    first = load_review(folder)
    assert first is not None
    known = evidence_of(folder)
    if "audits" in change:
        refuted = known["audits"][0].model_copy(update={"verdict": "refuted", "reasons": ("half the noise",)})
        change = {"audits": (refuted,)}
    first.model_copy(update={**known, **change}).save(folder)
    call(review, folder)
    second = load_review(folder)
    assert second is not None and second.trust_level == level
    assert second.negatives or second.reasons == ["reproduced: 50.00 submitted"]


def test_an_invalidated_record_stays_so(make: Make, scored: None) -> None:
    folder = make()
    assert call(review, folder).exit_code == 0
    assert call(review, folder, "--invalidate", "wrong data").exit_code == 0
    before = (folder / "review.json").read_bytes()
    done = call(review, folder)
    assert done.exit_code == 1 and "was invalidated" in done.stderr and "wrong data" in done.stderr
    assert (folder / "review.json").read_bytes() == before


def test_recomputed_scores_are_not_taken_back(make: Make, scored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    assert call(review, folder).exit_code == 0
    before = (folder / "review.json").read_bytes()
    assert call(review, folder, "--no-scores").exit_code == 2
    no_data = Recomputed(checks=(Check(name="copy test and scores", holds=None, detail="not here"),))
    monkeypatch.setattr("dpib_leaderboard.review.recompute", lambda *args, **options: no_data)
    done = call(review, folder)
    assert done.exit_code == 3 and "--data-dir" in done.stderr
    assert (folder / "review.json").read_bytes() == before


@pytest.mark.parametrize("reviewed", [True, False])
def test_a_store_without_images_is_not_refused(reviewed: bool, make: Make, scored: None) -> None:
    """As the store in git is: there is nothing to review, and no verdict."""
    folder = make()
    if reviewed:
        assert call(review, folder).exit_code == 0
    before = load_review(folder)
    (folder / "images.parquet").unlink()
    done = call(review, folder)
    assert done.exit_code == 3 and "images.parquet is not in" in done.stderr and done.stdout == ""
    assert load_review(folder) == before


def test_review_of_a_run_says_that_submit_comes_first(run_folder: Path) -> None:
    done = call(review, run_folder)
    assert done.exit_code == 2
    assert "is a run" in done.stderr and "dpib submit" in done.stderr
    assert not (run_folder / "review.json").exists()


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
    bad = [CommitOperationAdd("README.md", b"mine")]
    api.create_commit("org/results", bad, commit_message="x", repo_type="dataset", create_pr=True)
    refused = call(review, f"{hub.endpoint}/datasets/org/results/discussions/2", "--publish")
    assert refused.exit_code == 1
    pull = hub.repos["org/results"].pulls[2]
    assert pull.status == "closed" and "only adds" in pull.comments[0]


@pytest.mark.usefixtures("in_process")
def test_what_a_local_record_supersedes_is_not_sent(run_folder: Path, record: RunRecord, tmp_path: Path) -> None:
    """A run that was first incomplete: its second record supersedes the first, which no store has."""
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    partial = record.model_copy(update={"status": "partial"})
    (run / "record.json").write_text(record.superseding(partial).to_json())
    done = call(submit, run, "--to", tmp_path / "store", "--yes")
    assert done.exit_code == 0, done.output
    (sent,) = read_entries(tmp_path / "store")
    assert sent.record.supersedes is None and sent.record.id == record.id


@pytest.mark.parametrize(("token", "words"), [("hf_alice", ""), ("", "What depends on the account is checked")])
def test_a_dry_run_knows_whose_record_is_superseded(
    token: str,
    words: str,
    hub: Hub,
    run_folder: Path,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
) -> None:
    monkeypatch.setattr("dpib_leaderboard.hub.HubStore", partial(HubStore, endpoint=hub.endpoint))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    HubStore("org/results", endpoint=hub.endpoint, token="hf_maintainer").create()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    def earlier(plain: dict[str, Any]) -> None:
        plain["who"]["account"] = "alice"
        plain["synthetic"]["digest"] = "1" * 64
        plain["privacy"]["ledger_digest"] = "2" * 64

    folder = make(earlier)
    content = {f"{'/'.join(folder.parts[-4:])}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    hub.repos["org/results"].push("main", "org", **content)
    asked = ("--to", "hf:org/results", "--dry-run", "--supersedes", folder.name)
    done = call(submit, run_folder, *asked)
    assert done.exit_code == 0, done.output
    assert words in done.stderr
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    stolen = call(submit, run_folder, *asked)
    assert stolen.exit_code == 1 and "a record of another account" in stolen.stderr


def test_the_preview_leaves_a_seed_to_the_account_that_sent_it_first(record: RunRecord) -> None:
    def sent(account: str, value: float) -> RunRecord:
        def change(plain: dict[str, Any]) -> None:
            plain["who"]["account"] = account
            plain["method"]["reference"] = False
            for score in plain["scores"]:
                if score["metric"] == "accuracy" and score["protocol"] == "noisy-senv" and not score["classifier"]:
                    score["value"] = value

        return changed(record, change)

    first = sent("alice", 70.0)
    base = {"record": first.id, "accepted": True, "reviewed": "", "reviewer": "", "attempts": 1, "checks": ()}
    known = [Entry(Path("a/b/c/d"), first, Review(trust_level=1, scores=first.scores, **base))]
    assert list(preview([sent("bob", 99.0)], known)["mean"]) == [70.0]
    later = sent("alice", 72.0).model_copy(update={"created": "2999-01-01T00:00:00+00:00"})
    assert list(preview([later], known)["mean"]) == [72.0]


def test_nothing_is_merged_or_closed_on_an_old_state_of_the_store(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpib_leaderboard.hub.HubStore", partial(HubStore, endpoint=hub.endpoint))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    store = HubStore("org/results", endpoint=hub.endpoint, token="hf_maintainer")
    store.create()
    api = HfApi(hub.endpoint, token="hf_alice")
    bad = [CommitOperationAdd("README.md", b"mine")]
    api.create_commit("org/results", bad, commit_message="x", repo_type="dataset", create_pr=True)
    monkeypatch.setattr(HubStore, "snapshot", lambda self: replace(good, stale="The Hub was down."))
    good = Snapshot(tmp_path, "0" * 40, "2026-01-01")
    monkeypatch.setenv("HF_TOKEN", "hf_maintainer")
    done = call(review, "hf:org/results#1", "--publish")
    assert done.exit_code == 3 and "The Hub was down. Nothing is merged or closed" in done.stderr
    assert hub.repos["org/results"].pulls[1].status == "open"
    looked = call(review, "hf:org/results#1")
    assert looked.exit_code == 1 and "The Hub was down." in looked.stderr and "only adds" in looked.stdout


def test_an_empty_store_has_a_table_too(tmp_path: Path) -> None:
    assert build_rows(tmp_path) == 0
    assert (tmp_path / "rows.parquet").exists()
