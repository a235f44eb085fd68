"""Plugins that attack, run as a reviewer would run them: blocked or detected, one message each, scores unaffected.

Where this machine cannot confine a process, the refusal is tested, and what is detected rather than blocked still is.
"""

from __future__ import annotations

from pathlib import Path
from socket import socket

import pytest

from dpib import catalogue
from dpib.data.imagefile import load_parquet
from dpib.data.images import Splits
from dpib.data.load import load_splits
from dpib.errors import ConfigError, IsolationError, PrivacyError, RunError
from dpib.isolation import produce
from dpib.isolation.jail import protections_here, unprotected
from dpib.isolation.limited import Limits
from dpib.isolation.produce import Produced, code_digests, produce_isolated
from dpib.job import make_spec
from dpib.metrics.base import EvalInputs
from dpib.progress import Reporter
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


def test_scores_are_those_of_the_images_whatever_the_plugin_patches(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bends numpy, the metrics and the selection in its own process: images, ledger and scores stay honest."""
    from dpib.metrics.frechet import FrechetRandom

    monkeypatch.setenv("HF_TOKEN", "canary-token")
    images = tmp_path / "images.parquet"
    made = attack("patch", splits, images)
    assert made.protections.confined is CONFINED
    spec = make_spec("hostile", "digits", 10.0, "demo", overrides={"attack": "patch"})
    answer = rescore(spec, made.ledger, images, None, LIMITS)
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


DETECTED: dict[str, tuple[type[Exception], str]] = {
    "edit": (PrivacyError, "was edited, cut or replaced"),
    "cut": (PrivacyError, "was edited, cut or replaced"),
    "replace": (RunError, "were replaced after they were generated"),
    "leave early": (PrivacyError, "ended before its run did"),
    "extra file": (RunError, r"left '.*record\.json' in its run folder"),
    "link": (RunError, "left '.*link' in its run folder"),
}


@pytest.mark.parametrize("name", DETECTED)
def test_what_is_not_blocked_is_detected(name: str, splits: Splits, tmp_path: Path) -> None:
    error, message = DETECTED[name]
    with pytest.raises(error, match=message):
        attack(name, splits, tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet").exists()


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
    (pinned,) = code_digests("hostile", CODE)
    spec = make_spec("hostile", "digits", 10.0, "demo")
    with pytest.raises(ConfigError, match="is not the code of hostile"):
        produce_isolated(
            spec, TRACK, CARD, splits.train, tmp_path / "x", code=changed, digest=pinned, unconfined=not CONFINED
        )
