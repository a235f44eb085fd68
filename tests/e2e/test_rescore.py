"""A finished run is scored again, alone, by any metric; what is found is not computed twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dpib
from dpib.errors import ConfigError, MetricError, UnknownName
from dpib.evaluate_images import evaluate_images
from dpib.metrics.frechet import FrechetRandom
from dpib.workspace import Workspace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dpib.RunRecord]:
    runs = tmp_path_factory.mktemp("runs")
    record = dpib.run("uniform", "digits", 1.0, track="demo", runs=runs, quiet=True)
    return Workspace(runs, record.task.spec).folder, record


def test_a_run_needs_no_dataset_and_keeps_its_chosen_epochs(run: tuple[Path, dpib.RunRecord], tmp_path: Path) -> None:
    folder, record = run
    scores, kept = evaluate_images(folder, out=tmp_path, quiet=True)
    assert scores == record.scores
    assert not (kept / "ledger.jsonl").exists()


def test_one_metric_alone(run: tuple[Path, dpib.RunRecord], tmp_path: Path) -> None:
    folder, _ = run
    scores, kept = evaluate_images(folder, metrics=["diversity"], out=tmp_path, quiet=True)
    assert {score.metric for score in scores} >= {"distinct-images", "copies-train"}
    assert [file.name for file in (kept / "scores").iterdir()] == ["diversity.json"]
    with pytest.raises(UnknownName, match="diversity"):
        evaluate_images(folder, metrics=["diversty"], out=tmp_path, quiet=True)


def test_what_is_found_is_not_computed_again_and_what_failed_is(
    run: tuple[Path, dpib.RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run
    works = FrechetRandom.compute

    def fails(*_: object) -> None:
        raise MetricError("no weights")

    monkeypatch.setattr(FrechetRandom, "compute", fails)
    wanted = ["fd-random", "precision-recall"]
    first, kept = evaluate_images(folder, metrics=wanted, out=tmp_path, quiet=True)
    assert [score.reason for score in first if score.value is None] == ["no weights"]
    monkeypatch.setattr(FrechetRandom, "compute", works)
    file = kept / "scores" / "precision-recall.json"
    marked = [{**item, "evaluator": "kept"} for item in json.loads(file.read_text())]
    file.write_text(json.dumps(marked))
    second, _ = evaluate_images(folder, metrics=wanted, out=tmp_path, quiet=True)
    assert all(score.value is not None for score in second)
    assert [score.evaluator for score in second if score.metric == "recall"] == ["kept"]
    monkeypatch.setattr(FrechetRandom, "compute", fails)
    assert evaluate_images(folder, metrics=wanted, out=tmp_path, quiet=True)[0] == second


def test_a_run_is_not_selected_on_again(run: tuple[Path, dpib.RunRecord], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Leave out --epsilon"):
        evaluate_images(run[0], epsilon=1.0, out=tmp_path, quiet=True)


def test_images_alone_need_a_dataset(run: tuple[Path, dpib.RunRecord], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--dataset"):
        evaluate_images(run[0] / "images.parquet", out=tmp_path, quiet=True)
