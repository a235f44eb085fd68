"""Bad input: one message that names what is wrong, exit code 2 or 3, before anything expensive, nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dpib.cli.main import app
from dpib.job import make_spec, prepare
from dpib.records import load_record
from dpib.runner import run_job
from dpib_plugins.dp_means.method import DpMeans

RUN = ["run", "dp-means", "--dataset", "digits", "--epsilon", "1", "--track", "demo", "--quiet"]


def _call(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env)


def _replaced(**changes: str) -> list[str]:
    words = list(RUN)
    for option, value in changes.items():
        words[words.index(f"--{option}") + 1] = value
    return words


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "dp-mref", *RUN[2:]], 2, "Did you mean 'dp-merf'?"),
        (_replaced(dataset="digitz"), 2, "Did you mean 'digits'?"),
        (_replaced(track="dmo"), 2, "Did you mean 'demo'?"),
        (_replaced(dataset="mnist"), 2, "track demo-v1 has the datasets digits"),
        (_replaced(epsilon="0"), 2, "epsilon"),
        (_replaced(epsilon="-1"), 2, "epsilon"),
        (_replaced(epsilon="nan"), 2, "epsilon"),
        (_replaced(epsilon="inf"), 2, "epsilon"),
        ([*RUN, "--seed", "-1"], 2, "seed"),
        ([*RUN, "--set", "pixel_noize=0.1"], 2, "pixel_noi"),
        ([*RUN, "--set", "pixel_noise=much"], 2, "pixel_noise"),
        ([*RUN, "--set", "pixel_noise"], 2, "key=value"),
        ([*RUN, "--public", "omniglot-28"], 2, "public"),
        ([*RUN, "--prelude", "select-publik"], 2, "Did you mean 'select-public'?"),
        ([*RUN, "--variant", "huge"], 2, "variant"),
        ([*RUN, "--plugin", "absent.py"], 3, "absent.py"),
        (["run", "dp-means"], 2, "--dataset"),
        (["run", "absent.toml"], 2, "absent.toml"),
        (["verify", "absent"], 2, "absent"),
        (["eval", "absent.npz", "--dataset", "digits", "--track", "demo"], 3, "absent.npz"),
    ],
)
def test_each_mistake_has_one_message_and_its_exit_code(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _call(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("run.json")), "a run folder was begun"


def test_without_mirror_or_hub_the_message_says_how_to_get_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPIB_DATA", raising=False)
    result = _call("run", "dp-means", "--dataset", "pneumoniamnist", "--epsilon", "1", "--quiet")
    assert result.exit_code == 3
    assert "DPIB_DATA" in result.stderr and "--data-dir" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_truncated_parquet_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mirror" / "pneumoniamnist"
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing")
    result = _call(
        "run", "dp-means", "--dataset", "pneumoniamnist", "--epsilon", "1", "--quiet", "--data-dir", "mirror"
    )
    assert result.exit_code == 3
    assert "-00000-of-00001.parquet" in result.stderr


def test_folder_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from dpib.job import make_spec
    from dpib.workspace import Workspace

    assert _call(*RUN).exit_code == 0
    mine, other = (Workspace(Path("runs"), make_spec("dp-means", "digits", eps, "demo")).folder for eps in (1.0, 2.0))
    shutil.copytree(mine, other)
    result = _call(*_replaced(epsilon="2"))
    assert result.exit_code == 2
    assert "holds another run: epsilon 1.0 instead of 2.0" in result.stderr


def test_edited_record_does_not_pass_for_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _call(*RUN).exit_code == 0
    record = next(Path("runs").rglob("record.json"))
    record.write_text(record.read_text().replace('"target_epsilon": 1.0', '"target_epsilon": 0.1'))
    result = _call(*RUN)
    assert result.exit_code == 1
    assert "edited" in result.stderr


@pytest.mark.parametrize("kept", ["state", "images.parquet"])
def test_a_run_that_lost_its_ledger_is_refused_not_recorded_as_free(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _call(*RUN).exit_code == 0
    folder = next(Path("runs").rglob("record.json")).parent
    (folder / "record.json").unlink()
    (folder / "ledger.jsonl").unlink()
    if kept == "state":
        (folder / "images.parquet").unlink()
    else:
        shutil.rmtree(folder / "state")
    result = _call(*RUN)
    assert result.exit_code == 1
    assert "ledger.jsonl is missing" in result.stderr
    assert not (folder / "record.json").exists()


def test_a_half_finished_run_is_continued_under_the_same_conditions_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _call(*RUN).exit_code == 0
    folder = next(Path("runs").rglob("record.json")).parent
    (folder / "record.json").unlink()
    plan = (folder / "run.json").read_text()
    (folder / "run.json").write_text(plan.replace('"device": "cpu"', '"device": "cuda"'))
    result = _call(*RUN, "--device", "cpu")
    assert result.exit_code == 2
    assert "begun under other conditions (device)" in result.stderr


def test_a_finished_run_of_other_presets_is_not_returned_as_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _call(*RUN).exit_code == 0
    path = next(Path("runs").rglob("record.json"))
    record = load_record(path)
    method = record.method.model_copy(update={"config": {"old_setting": 1, "clipping_rms": 3.0}})
    older = record.model_copy(update={"method": method})
    path.write_text(older.model_copy(update={"id": older.content_digest}).to_json())
    result = _call(*RUN)
    assert result.exit_code == 2
    assert "another clipping_rms: the presets of" in " ".join(result.stderr.split())


def test_what_a_machine_lacks_is_no_mistake_of_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(DpMeans, "fit", too_large)
    with pytest.raises(MemoryError):
        run_job(prepare(make_spec("dp-means", "digits", 1.0, "demo")), tmp_path, quiet=True)
