"""The main job as a user runs it: run, look, verify, query, score again, from the shell's and from Python's side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import dpib
from dpib.cli.main import app
from dpib.data.catalog import digits
from dpib.data.imagefile import load_parquet
from dpib.privacy.noise import NoiseSource, noise_of_folder
from dpib.records import RunRecord
from dpib.verify import verify


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def record(runs: Path) -> RunRecord:
    return dpib.run("dp-means", dataset="digits", epsilon=10, track="demo", runs=runs, quiet=True)


def _folder(runs: Path, record: RunRecord) -> Path:
    return runs / "demo-v1" / "digits" / record.method.name / record.task.spec.run_id


def test_a_run_leaves_a_complete_record_images_and_a_grid(runs: Path, record: RunRecord) -> None:
    folder = _folder(runs, record)
    assert record.status == "complete"
    images = load_parquet(folder / "images.parquet", (1, 8, 8), 10)
    assert images.fingerprint == record.synthetic.digest
    assert record.synthetic.per_class == (100,) * 10
    assert Image.open(folder / "grid.png").size[0] > 100
    assert record.privacy.spent_epsilon is not None and 9.8 <= record.privacy.spent_epsilon <= 10
    assert record.privacy.second_opinion is not None
    assert record.privacy.spent_epsilon <= record.privacy.second_opinion
    assert "add-or-remove-one" in record.privacy.statement
    assert {"accuracy", "fd-random", "precision", "recall"} == {score.metric for score in record.scores}


def test_the_same_call_returns_the_same_record_without_work(runs: Path, record: RunRecord) -> None:
    ledger = (_folder(runs, record) / "ledger.jsonl").read_bytes()
    again = dpib.run("dp-means", dataset="digits", epsilon=10, track="demo", runs=runs, quiet=True)
    assert again == record
    assert (_folder(runs, record) / "ledger.jsonl").read_bytes() == ledger


def test_verify_confirms_an_honest_record(runs: Path, record: RunRecord) -> None:
    result = CliRunner().invoke(app, ["verify", str(_folder(runs, record)), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    checks = json.loads(result.stdout)
    assert {"ε by PLD", "ε by RDP", "images unchanged", "accuracy noisy-senv"} <= {check["name"] for check in checks}
    assert all(check["holds"] for check in checks)


def test_verify_notices_a_ledger_that_tells_less_noise(tmp_path: Path) -> None:
    record = dpib.run("dp-means", dataset="digits", epsilon=1, track="demo", runs=tmp_path, quiet=True)
    ledger = _folder(tmp_path, record) / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"noise_multiplier":', '"noise_multiplier":1'))
    result = CliRunner().invoke(app, ["verify", str(ledger.parent), "--no-scores", "--quiet"])
    assert result.exit_code == 1
    assert "ledger unchanged" in result.stderr


def test_the_private_choice_of_epoch_is_reported_and_verify_does_not_choose_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worst(self: NoiseSource, exact: Tensor, scale: float, charge: str) -> Tensor:
        return -exact

    monkeypatch.setattr(NoiseSource, "add_exponential", worst)
    record = dpib.run("real", dataset="digits", epsilon=1, track="demo", runs=tmp_path, quiet=True)
    monkeypatch.undo()
    private, exact = (record.score("accuracy", protocol, "small-cnn") for protocol in ("noisy-senv", "senv"))
    assert private is not None and exact is not None and private.value is not None and exact.value is not None
    assert private.epoch != exact.epoch, "the noise made the two choices differ"
    assert private.value < exact.value
    headline = record.score("accuracy", "noisy-senv")
    assert headline is not None and headline.value == private.value

    ledger = _folder(tmp_path, record) / "ledger.jsonl"
    before = ledger.read_bytes()
    found = verify(ledger.parent)
    assert {check.name: check.holds for check in found.checks}["accuracy noisy-senv small-cnn"] is True
    assert ledger.read_bytes() == before


def test_the_ceiling_says_that_it_is_not_private(tmp_path: Path) -> None:
    record = dpib.run("real", dataset="digits", epsilon=1, track="demo", runs=tmp_path, quiet=True)
    assert record.privacy.spent_epsilon is None
    assert record.privacy.assurance == "non-private"
    assert record.method.reference
    assert record.privacy.statement.startswith("NOT PRIVATE")


def test_results_query_and_export(runs: Path, record: RunRecord) -> None:
    frame = dpib.results(runs, track="demo", method="dp-means")
    assert list(frame["id"]) == [record.id]
    call = CliRunner().invoke
    assert "dp-means" in call(app, ["results", "--runs", str(runs)]).stdout
    assert json.loads(call(app, ["results", "--runs", str(runs), "--json"]).stdout)[0]["id"] == record.id
    assert call(app, ["results", "--runs", str(runs), "--csv"]).stdout.count("\n") == 2
    assert "tabular" in call(app, ["results", "--runs", str(runs), "--latex"]).stdout


@pytest.mark.parametrize("layout", ["npz", "folder", "parquet"])
def test_eval_scores_any_labelled_images_as_the_run_did(
    layout: str, runs: Path, record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = _folder(runs, record) / "images.parquet"
    data = load_parquet(source, (1, 8, 8), 10)
    path = {"npz": Path("mine.npz"), "folder": Path("mine"), "parquet": source}[layout]
    if layout == "npz":
        np.savez(path, images=data.images[:, 0].numpy(), labels=data.labels.numpy())
    elif layout == "folder":
        for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            file = path / digits.CARD.classes[int(label)] / f"{number:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(file)
    arguments = ["eval", str(path), "--dataset", "digits", "--track", "demo", "--json", "--quiet"]
    if layout == "npz":
        arguments += ["--epsilon", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    scores = {(s["metric"], s["protocol"], s["classifier"]): s for s in json.loads(result.stdout)}
    private = scores["accuracy", "noisy-senv", None]
    if layout == "npz":
        assert private["value"] is not None
        (ledger,) = Path("evals").rglob("ledger.jsonl")
        noise_of_folder(ledger.parent)  # as a process leaves it that is killed after the last score
        again = CliRunner().invoke(app, arguments)
        assert json.loads(again.stdout) == json.loads(result.stdout)
        assert sum('"charge"' in line for line in ledger.open()) == 1
        assert not (ledger.parent / "noise.secret").exists()
    else:
        assert private["value"] is None and "budget" in private["reason"]
    if layout != "folder":  # the same images in the same order give the same training
        stored = record.score("accuracy", "testfix")
        assert stored is not None and scores["accuracy", "testfix", None]["value"] == stored.value


def test_a_grid_runs_what_is_missing_and_prints_the_ranked_table(runs: Path, record: RunRecord, tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        '[[runs]]\ntrack = "demo"\nmethods = ["dp-means", "uniform"]\ndatasets = ["digits"]\nepsilons = [10]\n'
    )
    result = CliRunner().invoke(app, ["run", str(grid), "--runs", str(runs), "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stdout.index("dp-means") < result.stdout.index("uniform")
    assert "reference" in result.stdout
