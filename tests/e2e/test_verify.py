"""``dpib verify`` on records that their author rewrote, id and ledger digest made right again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import dpib
from dpib import catalogue
from dpib.cli.main import app
from dpib.data.catalog import digits
from dpib.job import make_spec, prepare
from dpib.privacy import pricing
from dpib.privacy.ledger import parse_charges, read_ledger_lines
from dpib.records import RunRecord, Score
from dpib.tracks import demo
from dpib.verify import Verification, _badge_checks, _score_checks, _settings_check, verify

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    dpib.run("dp-means", dataset="digits", epsilon=10, track="demo", runs=runs, quiet=True)
    (record,) = runs.rglob("record.json")
    return record.parent


Forge = Callable[..., Path]


@pytest.fixture
def forge(run: Path, tmp_path: Path) -> Forge:
    """Rewrite the record, and the ledger with the events that the record repeats."""

    def _forge(
        change: Callable[[dict[str, Any]], object] = lambda plain: None,
        ledger: Callable[[Lines], object] = lambda lines: None,
    ) -> Path:
        lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
        ledger(lines)
        content = "".join(json.dumps(line) + "\n" for line in lines)
        plain = json.loads((run / "record.json").read_text())
        plain["privacy"]["ledger_digest"] = hashlib.sha256(content.encode()).hexdigest()
        charges = {line["id"]: line for line in lines if line["type"] == "charge"}
        executed = {line["id"]: line["steps_executed"] for line in lines if line["type"] == "done"}
        plain["privacy"]["events"] = [event for event in plain["privacy"]["events"] if event["id"] in charges]
        for event in plain["privacy"]["events"]:
            event.update(event=charges[event["id"]]["event"], sampling=charges[event["id"]]["sampling"])
            event.update(steps_executed=executed.get(event["id"]))
        change(plain)
        record = RunRecord.from_plain(plain)
        folder = tmp_path / "forged"
        shutil.copytree(run, folder)
        (folder / "ledger.jsonl").write_text(content)
        (folder / "record.json").write_text(record.model_copy(update={"id": record.content_digest}).to_json())
        return folder

    return _forge


def failures(found: Verification) -> dict[str, str]:
    return {check.name: check.detail for check in found.checks if check.holds is False}


def test_what_is_only_written_anew_still_verifies(forge: Forge) -> None:
    found = verify(forge(), scores=False)
    assert failures(found) == {}
    assert found.statement == found.record.privacy.statement
    assert (found.spent_epsilon, found.second_opinion) == pytest.approx(
        (found.record.privacy.spent_epsilon, found.record.privacy.second_opinion)
    )


def put(block: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plain: plain[block].update(values)


STATUS, SETTINGS = "status is that of the scores", "settings are the presets'"
FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "statement": (put("privacy", statement="Protected: each person. Guarantee: (0.1, 1e-12)-DP."), "statement"),
    "assurance": (put("privacy", assurance="no-access"), "assurance"),
    "float safe": (put("privacy", float_safe=True), "as the harness writes it"),
    "unit": (put("privacy", unit="one person"), "as the harness writes it"),
    "tuning": (put("privacy", tuning="accounted"), "as the harness writes it"),
    "tuned": (put("method", tuned=True), "rules are the track's"),
    "config": (put("method", config={"anything": 1}), SETTINGS),
    "layers": (put("method", layers=["made up"]), SETTINGS),
    "epsilon by side": (put("privacy", spent_by_side={"train": 0.01, "validation": 0.01}), "ε by side"),
    "a side left out": (put("privacy", spent_by_side={}), "ε by side"),
    "relation": (put("privacy", relation="replace-one"), "rules are the track's"),
    "delta": (put("privacy", delta=0.5), "rules are the track's"),
    "nominal size": (put("task", nominal_size=10**9), "data are the card's"),
    "fingerprints": (put("task", fingerprints={}), "data are the card's"),
    "count": (put("synthetic", count=5), "rules are the track's"),
    "labels": (put("synthetic", per_class=[1000, *[0] * 9]), "rules are the track's"),
    "no scores": (lambda plain: plain.update(scores=[]), STATUS),
    "partial": (lambda plain: plain.update(status="partial"), STATUS),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_an_author_rewrites_fails(case: str, forge: Forge) -> None:
    change, name = FORGED[case]
    found = verify(forge(change), scores=False)
    assert name in failures(found)
    assert found.statement is not None and found.statement.startswith("Protected: each single record of")


def test_settings_of_code_that_is_not_here_are_not_decided(forge: Forge) -> None:
    folder = forge(put("method", config={"anything": 1}, source_digest="1" * 64))
    (settings,) = (check for check in verify(folder, scores=False).checks if check.name == SETTINGS)
    assert settings.holds is None


def test_settings_of_preludes_are_resolved_too(run: Path) -> None:
    plan = prepare(make_spec("dp-merf", "digits", 10.0, "demo", preludes=("central-images",))).plan("cpu")
    resolved = {name: getattr(plan, name) for name in ("config", "layers", "changed", "preludes")}
    record = RunRecord.model_validate_json((run / "record.json").read_bytes())
    method = record.method.model_copy(update={"name": "dp-merf", "source_digest": plan.method_digest, **resolved})
    record = record.model_copy(update={"method": method, "task": record.task.model_copy(update={"spec": plan.spec})})
    assert _settings_check(record).holds
    (prelude,) = plan.preludes
    forged = prelude.model_copy(update={"config": {**prelude.config, "bins": 1}})
    found = _settings_check(record.model_copy(update={"method": method.model_copy(update={"preludes": (forged,)})}))
    assert (found.holds, found.detail) == (False, "central-images: config is not what the presets give")


def test_the_statement_that_is_printed_is_the_ledgers(forge: Forge) -> None:
    folder = forge(put("privacy", statement="Safe."))
    result = CliRunner().invoke(app, ["verify", str(folder), "--no-scores", "--quiet"])
    assert result.exit_code == 1
    assert "Safe." not in result.output and "Protected: each single record of" in result.output


def edit(number: int, **values: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[number].update(values)


def event(noise_multiplier: float, sample_rate: float = 1.0, steps: int = 1) -> dict[str, Any]:
    return {
        "kind": "sampled-gaussian",
        "noise_multiplier": noise_multiplier,
        "sample_rate": sample_rate,
        "steps": steps,
    }


OPENS, CHARGED = "ledger opens by the rules", "accesses are as charged"
CHOSEN = "chosen epochs are paid for"
LEDGERS: dict[str, tuple[Callable[[Lines], object], str, str]] = {
    "budget": (edit(0, epsilon=1000.0), OPENS, "another ε"),
    "relation": (edit(0, relation="replace-one"), OPENS, "does not open"),
    "delta": (edit(1, delta=0.5), OPENS, "does not open"),
    "side": (lambda lines: lines.pop(1), OPENS, "opens the validation side 0 times"),
    "free amplification": (edit(2, event=event(0.3, 1e-7)), CHARGED, "without Poisson sampling"),
    "free parts": (
        edit(2, event={"kind": "partitioned-gaussian", "noise_multiplier": 1.0, "parts": 1000, "steps": 1}),
        CHARGED,
        "without disjoint parts",
    ),
    "unpaid steps": (edit(3, steps_executed=2), CHARGED, "2 steps of 1 charged"),
    "cheap choice": (edit(4, event={"kind": "pure-dp", "epsilon": 0.1}), CHOSEN, "costs ε = 10 here"),
    "choice by noise": (edit(4, event=event(1.0)), CHOSEN, "costs ε = 10 here"),
    "another choice": (edit(4, label="select epoch of large-cnn"), CHOSEN, "something else than epochs"),
}


@pytest.mark.parametrize("case", LEDGERS)
def test_a_ledger_against_the_rules_fails(case: str, forge: Forge) -> None:
    change, name, detail = LEDGERS[case]
    assert detail in failures(verify(forge(ledger=change), scores=False)).get(name, "")


def unscored(plain: dict[str, Any]) -> None:
    plain["scores"] = [score for score in plain["scores"] if score["protocol"] != "noisy-senv"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("privacy"), "scores by Noisy SenV without a charge for 'select epoch of small-cnn'"),
        (unscored, None),
    ],
    ids=["scored", "not scored"],
)
def test_an_epoch_that_scores_rest_on_is_paid_for(
    change: Callable[[dict[str, Any]], None], problem: str | None, forge: Forge
) -> None:
    def without_choice(lines: Lines) -> None:
        del lines[4:]

    assert failures(verify(forge(change, without_choice), scores=False)).get(CHOSEN) == problem


def test_a_charge_of_which_no_step_is_reported_is_paid_for(forge: Forge) -> None:
    """As after a crash in a declared access, which is charged anew."""
    assert failures(verify(forge(ledger=lambda lines: lines.pop(3)), scores=False)) == {}


@pytest.mark.parametrize("what", [event(0.003, 0.5), event(1.0, 0.5, 10**12)], ids=["noise", "steps"])
def test_what_would_take_all_memory_to_price_fails_and_is_never_priced(
    what: dict[str, Any], forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pricing, "price")
    found = verify(forge(ledger=edit(2, event=what, sampling="poisson")), scores=False)
    assert "train-0001" in failures(found)[CHARGED]
    assert "beyond what the accountants price" in failures(found)["ε"]
    assert found.spent_epsilon is None and found.statement is None


def test_a_mixture_without_a_price_fails(forge: Forge) -> None:
    def mix(lines: Lines) -> None:
        lines.append({**lines[4], "id": "train-0002", "side": "train"})

    assert "unsupported privacy claim" in failures(verify(forge(ledger=mix), scores=False))["ε"]


def test_a_validation_side_read_outside_the_harness_is_no_assurance(run: Path) -> None:
    charges, _ = parse_charges(read_ledger_lines(run / "ledger.jsonl"))
    privacy, card = RunRecord.model_validate_json((run / "record.json").read_bytes()).privacy, digits.CARD
    assert all(check.holds for check in _badge_checks(privacy, charges, card))
    declared = [c.model_copy(update={"assurance": "declared"}) if c.side == "validation" else c for c in charges]
    assert [check.holds for check in _badge_checks(privacy, declared, card)] == [False, True]


def test_a_card_without_fingerprints_decides_nothing_about_the_data(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = digits.CARD.model_copy(update={"fingerprints": {}})
    monkeypatch.setattr(catalogue, "dataset", lambda name: unseen)
    (data,) = (check for check in verify(forge(), scores=False).checks if check.name == "data are the card's")
    assert data.holds is None


@pytest.mark.parametrize("sides", [(), ("train", "test"), ("train", "validation", "test", "more")])
def test_a_record_has_fingerprints_of_all_sides_whatever_the_card_has(
    sides: tuple[str, ...], forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = digits.CARD.model_copy(update={"fingerprints": {}})
    monkeypatch.setattr(catalogue, "dataset", lambda name: unseen)
    found = verify(forge(put("task", fingerprints=dict.fromkeys(sides, "1" * 64))), scores=False)
    assert "not of train, validation and test" in failures(found)["data are the card's"]


def not_parquet(path: Path) -> None:
    path.write_bytes(b"junk")


def not_images(path: Path) -> None:
    rows = [{"image": {"bytes": b"junk", "path": "0.png"}, "label": 0}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize("spoil", [not_parquet, not_images])
def test_images_that_cannot_be_read_fail_and_hide_nothing(spoil: Callable[[Path], None], forge: Forge) -> None:
    folder = forge()
    spoil(folder / "images.parquet")
    result = CliRunner().invoke(app, ["verify", str(folder), "--json", "--quiet"])
    assert result.exit_code == 1
    checks = {check["name"]: check["holds"] for check in json.loads(result.stdout)}
    assert checks["images"] is False and checks["ε by PLD"] is True


def test_what_the_code_of_a_metric_prints_is_on_stderr(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = RunRecord.model_validate_json((run / "record.json").read_bytes()).scores
    monkeypatch.setattr("dpib.verify.evaluate", lambda inputs: print("hello") or recorded)
    result = CliRunner().invoke(app, ["verify", str(run), "--json", "--quiet"])
    assert {"accuracy noisy-senv small-cnn"} <= {check["name"] for check in json.loads(result.stdout)}
    assert "hello" in result.stderr


# ---- scores ----


def value(metric: str, number: float) -> Score:
    return Score(metric=metric, value=number, higher_is_better=True)


def undefined(metric: str) -> Score:
    return Score(metric=metric, value=None, reason="weights of x are not here", higher_is_better=True)


ACCURACY, PRECISION, RECALL = value("accuracy", 80.0), value("precision", 0.5), value("recall", 0.5)


@pytest.mark.parametrize(
    ("recorded", "recomputed", "holds"),
    [
        ([ACCURACY], [value("accuracy", 81.0)], {"accuracy": True}),
        ([ACCURACY], [value("accuracy", 85.0)], {"accuracy": False}),
        ([value("fid", 3.0)], [undefined("fid")], {"fid": None}),
        ([undefined("fid")], [value("fid", 3.0)], {"fid": None}),
        ([undefined("fid")], [undefined("fid")], {"fid": None}),
        (
            [PRECISION, RECALL],
            [undefined("precision-recall")],
            {"precision": None, "recall": None, "precision-recall": None},
        ),
        (
            [undefined("precision-recall")],
            [PRECISION, RECALL],
            {"precision": None, "recall": None, "precision-recall": None},
        ),
        ([ACCURACY], [ACCURACY, PRECISION], {"accuracy": True, "precision": False}),
        ([ACCURACY, value("beauty", 1.0)], [ACCURACY], {"accuracy": True, "beauty": False}),
        ([value("image-reward", 1.0)], [], {"image-reward": None}),
        ([], [value("image-reward", 1.0)], {}),
    ],
    ids=[
        "agree",
        "differ",
        "no weights here",
        "none there",
        "none anywhere",
        "several scores without weights here",
        "several without weights there",
        "left out",
        "invented",
        "optional and not installed here",
        "optional and not installed there",
    ],
)
def test_a_score_that_is_undefined_on_a_side_is_not_decided(
    recorded: list[Score], recomputed: list[Score], holds: dict[str, bool | None], run: Path
) -> None:
    record = RunRecord.model_validate_json((run / "record.json").read_bytes())
    track = demo.TRACK.model_copy(update={"optional_metrics": ("image-reward",)})
    checks = list(_score_checks(record.model_copy(update={"scores": tuple(recorded)}), track, tuple(recomputed)))
    assert {check.name: check.holds for check in checks} == holds
    assert all("weights of x" in check.detail for check in checks if check.holds is None and "reward" not in check.name)
