"""The listing commands over what comes with dpib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dpib import catalogue, plugins
from dpib.cli.main import app


@pytest.fixture(autouse=True)
def built_in_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consider no plugin from outside dpib and no data on this machine."""
    monkeypatch.setenv("DPIB_PLUGINS", "")
    monkeypatch.delenv("DPIB_DATA", raising=False)
    plugins.registry.cache_clear()


def dpib(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result


def listed(*arguments: str) -> Any:
    return json.loads(dpib(*arguments, "--json").stdout)


def test_plugins_lists_every_kind() -> None:
    rows = listed("plugins")
    assert {row["kind"] for row in rows} >= {"dataset", "metric", "track"}
    assert {row["state"] for row in rows} == {"ok"}
    assert "Interpreter" in dpib("plugins").stderr


@pytest.mark.parametrize("kind", ["datasets", "metrics", "tracks"])
def test_a_list_names_everything_as_table_and_as_json(kind: str) -> None:
    rows = listed(kind)
    table = dpib(kind).stdout
    names = [row["name"] for row in rows]
    assert names == sorted(names)
    assert len(names) >= 1
    for name in names:
        assert name in table


def test_a_dataset_shows_its_card() -> None:
    card = catalogue.dataset("digits")
    assert listed("datasets", "digits") == card.model_dump(mode="json")
    assert card.citation in " ".join(dpib("datasets", "digits").stdout.split())


def test_check_says_what_is_here() -> None:
    assert listed("datasets", "digits", "--check")["present"] is True
    found = {row["name"]: row for row in listed("datasets", "--check")}
    assert found["digits"]["present"]
    assert not found["cifar10-jpeg75"]["present"]
    assert "DPIB_DATA" in found["cifar10-jpeg75"]["problem"]
    assert "cifar10-jpeg75" in dpib("datasets", "--check").stdout


def test_check_of_what_cannot_be_had_exits_with_3(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["datasets", "cifar10-jpeg75", "--check", "--data-dir", str(tmp_path)])
    assert result.exit_code == 3
    assert "cifar10-jpeg75" in result.stderr


def test_data_dir_alone_is_misuse(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["datasets", "--data-dir", str(tmp_path)]).exit_code == 2
