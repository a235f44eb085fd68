"""Plugins that attack, run as a reviewer would run them: blocked or detected, one message each, scores unaffected.

Where this machine cannot confine a process, the refusal is tested, and what is detected rather than blocked still is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from dpib import catalogue
from dpib.data.imagefile import load_parquet
from dpib.data.images import Splits
from dpib.data.load import load_splits
from dpib.errors import ConfigError, IsolationError, PrivacyError, RunError
from dpib.isolation import produce
from dpib.isolation.jail import protections_here, unprotected
from dpib.isolation.limited import Ended, Limits, run_limited
from dpib.isolation.produce import Produced, code_digest, produce_isolated
from dpib.job import make_spec
from dpib.metrics.base import EvalInputs
from dpib.progress import Reporter
from dpib.spec import RunSpec
from dpib.workspace import Workspace
from dpib_leaderboard.rescore import rescore

CODE = Path(__file__).with_name("hostile.py")
CONFINED = protections_here().confined
LIMITS = Limits(memory=12 << 30, seconds=200, disk=64 << 20)
CARD, TRACK = catalogue.dataset("digits"), catalogue.track("demo")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(CARD)


def attack(name: str, splits: Splits, images: Path, **options: str) -> Produced:
    """Run the hostile method; confined where this machine can."""
    spec = make_spec("hostile", "digits", 10.0, "demo", overrides={"attack": name, **options})
    return produce_isolated(spec, TRACK, CARD, splits.train, images, code=CODE, limits=LIMITS, unconfined=not CONFINED)


@dataclass(frozen=True)
class Finished:
    """One run of the plugin that patches the scorer, with what it left behind."""

    spec: RunSpec
    produced: Produced
    images: Path
    runs: Path
    stream: bytes


MARK = f"mark-{os.getpid()}"


@pytest.fixture(scope="module")
def finished(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    seen: list[Ended] = []

    def keep(*arguments: Any, **options: Any) -> Ended:
        seen.append(run_limited(*arguments, **options))
        shutil.copytree(options["folder"], folder / "runs")
        return seen[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "canary-token")
        patch.setattr(produce, "run_limited", keep)
        produced = attack("patch", splits, folder / "images.parquet", target=MARK)
    return Finished(produced.plan.spec, produced, folder / "images.parquet", folder / "runs", seen[0].stream)


def test_scores_are_those_of_the_images_whatever_the_plugin_patches(
    finished: Finished, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bends numpy, the metrics and the selection in its own process: images, ledger and scores stay honest."""
    from dpib.metrics.frechet import FrechetRandom

    monkeypatch.setenv("HF_TOKEN", "canary-token")
    made, images = finished.produced, finished.images
    assert made.protections.confined is CONFINED
    answer = rescore(finished.spec, made.ledger, images, None, LIMITS)
    scores = {(s.metric, s.protocol, s.classifier): s.value for s in answer.scores}
    released = load_parquet(images, CARD.shape, 10)
    inputs = EvalInputs(
        synthetic=released,
        splits=splits,
        task=CARD.task(),
        track=TRACK,
        device="cpu",
        cache=tmp_path / "features",
        reporter=Reporter(),
        selector=None,  # type: ignore[arg-type]
    )
    (expected,) = FrechetRandom().compute(inputs)
    assert scores["fd-random", None, None] == pytest.approx(expected.value)
    assert all(value is not None for value in scores.values())
    assert scores["accuracy", "noisy-senv", None] < 60  # noise as images teaches nothing
    assert 0 < answer.spent_epsilon <= 10 * (1 + 1e-9)
    written = images.read_bytes() + made.ledger + made.plan.model_dump_json().encode()
    assert b"canary" not in written + answer.canonical().encode()


@pytest.mark.skipif(not CONFINED, reason=f"cannot confine here: {protections_here().reason}")
def test_nothing_outside_is_reached(splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network, name service, files, the scorer's code, the host's settings, other accounts and processes, secrets."""
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o666)
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        target = f"{secret}:{listener.getsockname()[1]}"
        with pytest.raises(RunError, match=r"ended with code 3: succeeded: \[\]"):
            attack("break out", splits, tmp_path / "x", target=target)
    assert secret.read_text() == "mine"


@pytest.mark.skipif(not CONFINED, reason=f"cannot confine here: {protections_here().reason}")
def test_a_process_left_in_the_background_is_gone(finished: Finished) -> None:
    assert finished.spec.overrides["target"] == MARK
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if MARK.encode() in path.read_bytes()]
    assert running == []


def test_a_ledger_edited_at_the_end_is_detected(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="was edited, cut or replaced"):
        attack("edit", splits, tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet").exists()


def test_a_run_that_ends_before_its_account_is_complete_is_refused(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="ended before its run did"):
        attack("leave early", splits, tmp_path / "images.parquet")


def _append(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b" ")


def _cut(folder: Path) -> None:
    path = folder / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))


def _link_images(folder: Path) -> None:
    (folder / "images.parquet").rename(folder / "state" / "moved")
    (folder / "images.parquet").symlink_to("state/moved")


LEFT: dict[str, tuple[Callable[[Path], object], str]] = {
    "ledger cut": (_cut, "was edited, cut or replaced"),
    "ledger longer": (_append("ledger.jsonl"), "was edited, cut or replaced"),
    "ledger gone": (lambda folder: (folder / "ledger.jsonl").unlink(), "cannot be read"),
    "images replaced": (_append("images.parquet"), "were replaced after they were generated"),
    "images linked": (_link_images, r"left '.*images\.parquet' in its run folder"),
    "record": (lambda folder: (folder / "record.json").write_text("{}"), r"left '.*record\.json' in its run folder"),
    "link": (lambda folder: (folder / "state" / "x").symlink_to("/etc"), r"left '.*state/x' in its run folder"),
    "pipe": (lambda folder: os.mkfifo(folder / "state" / "x"), r"left '.*state/x' in its run folder"),
    "hard link": (lambda folder: os.link(folder / "run.json", folder / "state" / "x"), "left '.*' in its run folder"),
    "plan": (_append("run.json"), ""),
    "plan damaged": (lambda folder: (folder / "run.json").write_text("{"), "damaged run.json"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_a_run_may_not_leave_is_refused(case: str, finished: Finished, tmp_path: Path) -> None:
    change, message = LEFT[case]
    shutil.copytree(finished.runs, tmp_path / "runs")
    workspace = Workspace(tmp_path / "runs", finished.spec)
    change(workspace.folder)
    if not message:  # a blank at the end of the plan changes nothing
        assert taken(workspace, finished.stream).ledger == finished.produced.ledger
        return
    with pytest.raises((RunError, PrivacyError), match=message):
        taken(workspace, finished.stream)
    assert not (tmp_path / "images.parquet").exists()


def taken(workspace: Workspace, stream: bytes) -> Produced:
    images = workspace.runs.parent / "images.parquet"
    return produce.take_over(workspace, stream, TRACK, CARD, images, 1 << 20, protections_here())


STREAMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda stream: b"", "ended before its run did"),
    "no end": (lambda stream: stream.rpartition(b'{"images"')[0], "ended before its run did"),
    "more after the end": (lambda stream: stream + b"{}\n", "ended before its run did"),
    "more noise": (lambda stream: stream.replace(b'"noise_multiplier":5', b'"noise_multiplier":50'), "was edited"),
    "no json": (lambda stream: b"[" * 100_000 + b"\n" + stream, "was edited|malformed"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_not_the_file_is_refused(case: str, finished: Finished) -> None:
    change, message = STREAMS[case]
    with pytest.raises(PrivacyError, match=message):
        taken(Workspace(finished.runs, finished.spec), change(finished.stream))


LEDGERS: dict[str, tuple[bytes, bytes, str]] = {
    "another budget": (b'"epsilon":10.0', b'"epsilon":99.0', "does not open the training side"),
    "another side": (b'"side":"train","type":"charge"', b'"side":"validation","type":"charge"', "may not"),
    "unpaid steps": (b'"steps_executed":1', b'"steps_executed":9', "more steps than it charges"),
    "malformed": (b'"type":"charge"', b'"type":"gift"', "malformed"),
}


@pytest.mark.parametrize("case", LEDGERS)
def test_a_ledger_against_the_rules_is_refused_though_file_and_stream_agree(
    case: str, finished: Finished, tmp_path: Path
) -> None:
    old, new, message = LEDGERS[case]
    shutil.copytree(finished.runs, tmp_path / "runs")
    workspace = Workspace(tmp_path / "runs", finished.spec)
    assert old in finished.stream
    workspace.ledger_path.write_bytes(workspace.ledger_path.read_bytes().replace(old, new))
    with pytest.raises(PrivacyError, match=message):
        taken(workspace, finished.stream.replace(old, new))


def test_a_machine_that_cannot_confine_refuses(splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says why and what to do; nothing of the plugin has run."""
    monkeypatch.setattr(produce, "protections_here", lambda: unprotected("no namespaces"))
    monkeypatch.setattr(produce, "run_limited", lambda *_, **__: pytest.fail("it ran"))
    spec = make_spec("hostile", "digits", 10.0, "demo")
    with pytest.raises(IsolationError, match=r"no namespaces.*user namespaces are allowed"):
        produce_isolated(spec, TRACK, CARD, splits.train, tmp_path / "x", code=CODE)


def test_only_the_pinned_code_runs(splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(produce, "run_limited", lambda *_, **__: pytest.fail("it ran"))
    changed = tmp_path / "hostile.py"
    changed.write_text(CODE.read_text() + "\n# one line more\n")
    pinned = code_digest("hostile", CODE)
    spec = make_spec("hostile", "digits", 10.0, "demo")
    with pytest.raises(ConfigError, match="is not the code of hostile"):
        produce_isolated(
            spec, TRACK, CARD, splits.train, tmp_path / "x", code=changed, digest=pinned, unconfined=not CONFINED
        )


def _install(folder: Path, package: str, method: str) -> None:
    """Lay a package into a folder as ``pip install --target`` does; importing it fails."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise AssertionError('it was imported')\n")
    (folder / f"{package}-1.dist-info").mkdir()
    (folder / f"{package}-1.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 1\n")
    (folder / f"{package}-1.dist-info" / "entry_points.txt").write_text(f"[dpib]\n{method} = {package}\n")


def test_the_digest_of_a_folder_is_that_of_the_package_that_offers_the_method(tmp_path: Path) -> None:
    """Another package with the digest that the record names does not help; nothing is imported."""
    _install(tmp_path, "mine", "hostile")
    _install(tmp_path, "decoy", "other")
    (tmp_path / "decoy" / "more.py").write_text("")
    assert code_digest("hostile", tmp_path) != code_digest("other", tmp_path)
    with pytest.raises(ConfigError, match="it holds 0"):
        code_digest("third", tmp_path)
    _install(tmp_path, "rival", "hostile")
    with pytest.raises(ConfigError, match="it holds 2"):
        code_digest("hostile", tmp_path)
