"""``dpib datasets NAME --check``: what is here, what is not, and the command that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpib.cli.main import app


def test_what_matches_its_card_is_said_to() -> None:
    found = json.loads(CliRunner().invoke(app, ["datasets", "digits", "--check", "--json"]).stdout)
    assert (found["present"], found["fingerprint"], found["problem"]) == (True, "matches", "")
    table = CliRunner().invoke(app, ["datasets", "digits", "--check"]).stdout
    assert "match" in table
    assert "CC BY 4.0" in table


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", ["dpib datasets mnist --check --download", "hf://datasets/ylecun/mnist"]),
        ("imagenet-32", ["huggingface.co/datasets/ILSVRC/imagenet-1k", "hf auth login", "--download"]),
        ("places365-32", ["places365/train-*.parquet", "DPIB_DATA"]),
    ],
)
def test_what_is_absent_exits_with_3_and_says_what_to_do(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DPIB_DATA", raising=False)
    result = CliRunner().invoke(app, ["datasets", name, "--check", "--json", "--data-dir", str(tmp_path)])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["present"] is False
    for word in words:
        assert word in result.stderr


def test_unverified_datasets_say_so_in_the_list_and_on_the_card() -> None:
    listed = CliRunner().invoke(app, ["datasets"]).stdout
    lines = {line.split()[0]: line for line in listed.splitlines() if line.strip()}
    assert "unverified here" in lines["cifar10"]
    assert "unverified here" not in lines["mnist"]
    assert "unverified here" in CliRunner().invoke(app, ["datasets", "celeba-male-64"]).stdout


@pytest.mark.parametrize("arguments", [["--download"], ["--check", "--download"], ["mnist", "--download"]])
def test_download_needs_a_name_and_a_check(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["datasets", *arguments]).exit_code == 2


def test_help_of_add_teaches() -> None:
    result = CliRunner().invoke(app, ["datasets", "add", "--help"])
    assert result.exit_code == 0
    assert "--nominal-size" in result.stdout
    assert "dpib datasets add photos" in result.stdout
    assert "dpib datasets add FOLDER" in CliRunner().invoke(app, ["datasets", "--help"]).stdout
