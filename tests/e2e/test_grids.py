"""Grids as a user runs them: what is planned, what a failure costs, what a kill leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpib.cli.main import app
from dpib.errors import ConfigError
from dpib.files import exclusive
from dpib.grids import child
from dpib.grids.base import OnEvent, Outcome, Runner, RunnerSettings, Task
from dpib.grids.execute import failures, run_tasks, tasks_of
from dpib.grids.grid import Grid, Unit, read_grid
from dpib.grids.local import LocalRunner
from dpib.grids.past import Past
from dpib.grids.plan import Plan, make_plan
from dpib.grids.process import IMAGES_PER_PASS, Emit, TaskProcess
from dpib.job import make_spec, prepare
from dpib.privacy.engine.batches import LIMIT, PhysicalBatches
from dpib.query import records_below
from dpib.records import load_record
from dpib.spec import RunSpec
from dpib.workspace import Workspace

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FAULTY = """
import os, time
from dpib.api import Family, Method, MethodCard, MethodConfig, Synthesizer, hookimpl
import torch

class Config(MethodConfig):
    how: str = "well"

class Faulty(Synthesizer):
    Config = Config

    def fit(self, private):
        how = self.config.how
        if how == "raises":
            raise ValueError("not today")
        if how == "dies":
            os._exit(7)
        if how == "hangs":
            os.system("sleep 600")

    def generate(self, labels):
        print("this must not disturb the protocol")
        return torch.zeros((len(labels), *self.task.shape), dtype=torch.uint8)

@hookimpl
def dpib_synthesizers():
    card = MethodCard(name="faulty", title="F", summary="S", family=Family.REFERENCE, noise_location=None)
    return [Method(card, f"{__name__}:Faulty")]
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    text = """
    [base]
    track = "demo"
    datasets = "digits"
    epsilons = [1, 10]
    [[runs]]
    methods = ["dp-means", "uniform"]
    seeds = [0, 1]
    [[rows]]
    method = "dp-means"
    epsilon = 0.2
    seed = 7
    """
    return _write(tmp_path / "small.toml", text)


def test_axes_multiply_rows_add_and_nothing_comes_twice(small: Path, tmp_path: Path) -> None:
    units = read_grid(small).units
    assert len(units) == 2 * 2 * 2 + 1
    assert units[-1].spec == make_spec("dp-means", "digits", 0.2, "demo", 7)
    doubled = _write(tmp_path / "twice.toml", small.read_text() + '[[rows]]\nmethod = "uniform"\nepsilon = 1\n')
    assert len(read_grid(doubled).units) == len(units)


def test_a_file_extends_another_and_replaces_its_base_key_by_key(small: Path, tmp_path: Path) -> None:
    other = _write(tmp_path / "other.toml", 'extends = "small.toml"\n[base]\nepsilons = 5\n')
    specs = [unit.spec for unit in read_grid(other).units]
    assert {spec.epsilon for spec in specs} == {5.0, 0.2} and {spec.track for spec in specs} == {"demo-v1"}


ONE = '[[runs]]\nmethods = "uniform"\ndatasets = "digits"\nepsilons = 1\n'


def test_a_base_that_reaches_no_block_of_the_other_file_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "one.toml", ONE)
    with pytest.raises(ConfigError, match=r"base\.epsilons has no effect"):
        read_grid(_write(tmp_path / "grid.toml", 'extends = "one.toml"\n[base]\nepsilons = 5\n'))


def test_a_finding_says_none_as_an_axis_does(tmp_path: Path) -> None:
    text = 'better = {preludes = "none", variant = ["none"]}\nthan = {dataset = "digits"}'
    (finding,) = read_grid(_write(tmp_path / "grid.toml", ONE + '[[findings]]\ntext = "f"\n' + text)).findings
    assert finding.better is not None and finding.better.preludes == finding.better.variant == ("",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[runs]]\nmethod = 3", "runs.0.method"),
        ('[[runs]]\nmethods = "uniform"', "datasets and epsilons missing"),
        ('[[runs]]\nmethods = "uniform"\ndatasets = "digits"\nepsilons = -1', "epsilon"),
        ('[[runs]]\nmethods = []\ndatasets = "digits"\nepsilons = 1', "methods"),
        ('[[rows]]\nmethods = "uniform"', "use the singular"),
        ('[[rows]]\nmethod = ["uniform", "real"]', "rows.0: method: a row names single values"),
        ('[[rows]]\nmethod = "uniform"\npublic = ["none"]', "rows.0: public: a row names single values"),
        ('[base]\ntrack = "dmo"\n[[rows]]\nmethod = "uniform"\ndataset = "digits"\nepsilon = 1', "Did you mean 'demo'"),
        ('[base]\npretrain = "perhaps"', "base.pretrain"),
        ('extends = "grid.toml"', "extends itself"),
        (ONE + '[[findings]]\ntext = "f"\nbetter = {method = "uniform"}', "both 'better' and 'than'"),
        (
            ONE + '[[findings]]\ntext = "f"\nbetter = {method = "unifrom"}\nthan = {method = "uniform"}',
            "findings.0.better: no run of the grid has method 'unifrom'. There are: uniform",
        ),
        (
            ONE + '[[findings]]\ntext = "f"\nbetter = {epsilon = 1}\nthan = {epsilon = [1, 2]}',
            "findings.0.than: no run of the grid has epsilon '2.0'",
        ),
        (
            ONE + '[[findings]]\ntext = "f"\nbetter = {preludes = "central"}\nthan = {preludes = "none"}',
            "no run of the grid has preludes 'central'. There are: none",
        ),
        ("title = 'empty'", "no \\[\\[runs\\]\\]"),
        ("runs = [", "not TOML"),
        ('paper = "9"\n[[runs]]\nmethods = "uniform"\ndatasets = "digits"\nepsilons = 1', "no table '9' of the paper"),
    ],
)
def test_a_wrong_grid_is_refused_with_the_place(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        read_grid(_write(tmp_path / "grid.toml", text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[base]\nseeds = 2020-01-01", "base.seeds.0: Input should be a valid integer (got '2020-01-01')."),
        ('[base]\nseeds = [0, "x"]', "base.seeds.1: Input should be a valid integer (got 'x')."),
        ("[base]\nseeds = []", "base.seeds: Tuple should have at least 1 item after validation, not 0 (got ())."),
        ('titel = "Utility"', "titel: unknown key (got 'Utility')."),
        ('[[findings]]\ntext = "t"\nworse = 1', "findings.0.worse: unknown key (got 1)."),
    ],
)
def test_a_wrong_grid_is_refused_in_so_many_words(text: str, told: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "grid.toml", text)
    with pytest.raises(ConfigError) as refused:
        read_grid(path)
    assert str(refused.value) == f"{path}: {told}"


def test_axes_are_listed_for_an_unknown_one(tmp_path: Path) -> None:
    for block in ("[base]", "[[runs]]"):
        with pytest.raises(ConfigError, match=r"unknown key .* An axis is one of: methods, "):
            read_grid(_write(tmp_path / "grid.toml", f"{block}\nseed = 1"))


def test_dates_are_read_as_the_words_they_are_written_as(tmp_path: Path) -> None:
    text = 'title = 2020-01-01\n[[runs]]\nmethods="uniform"\ndatasets="digits"\nepsilons=1\ntrack="demo"\n'
    grid = read_grid(_write(tmp_path / "grid.toml", f"{text}overrides = {{a = 2020-01-01}}"))
    assert grid.title == grid.units[0].spec.overrides["a"] == "2020-01-01"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.toml")), ids=lambda path: path.relative_to(EXPERIMENTS))
def test_every_shipped_grid_reads_and_has_its_lite_twin(path: Path) -> None:
    grid = read_grid(path)
    assert grid.units
    assert {"uniform", "dp-means", "real"} <= {unit.spec.method for unit in grid.units}, "floor, baseline and ceiling"
    if path.parent == EXPERIMENTS and path.name != "demo.toml":
        assert (EXPERIMENTS / "lite" / path.name).exists()
        assert all(unit.needs_gpu for unit in grid.units), "the paper's protocol needs a GPU"
    if path.parent.name == "lite":
        assert {unit.spec.track for unit in grid.units} <= {"lite-v1", "demo-v1"}
        assert not any(unit.needs_gpu for unit in grid.units)


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        ("batch-and-size", {"mnist"}),
        ("epsilon", {"fashion-mnist"}),
        ("fidelity", {"mnist", "fashion-mnist", "cifar10-jpeg75"}),
        ("pretraining", {"cifar10-jpeg75"}),
        ("pretraining-length", {"mnist"}),
        ("public-data", {"cifar10-jpeg75", "fashion-mnist"}),
        ("resolutions", {"digits", "mnist"}),
        ("resources", {"cifar10-jpeg75"}),
        ("selection", {"mnist", "cifar10-jpeg75"}),
        ("shortcut", {"fashion-mnist"}),
        ("size", {"mnist"}),
        ("utility", {"mnist", "fashion-mnist", "cifar10-jpeg75"}),
    ],
)
def test_a_lite_twin_has_the_datasets_that_it_says(name: str, datasets: set[str]) -> None:
    assert {unit.spec.dataset for unit in read_grid(EXPERIMENTS / "lite" / f"{name}.toml").units} == datasets


def test_private_selection_has_both_pretrainings_in_the_figure_about_them() -> None:
    specs = [unit.spec for unit in read_grid(EXPERIMENTS / "pretraining.toml").units]
    assert {spec.pretrain for spec in specs if spec.method == "privimage"} == {"conditional"}, "it refuses the other"
    selected = {(spec.method, spec.pretrain) for spec in specs if spec.public == "imagenet-32:5%"}
    assert selected == {("pdp-diffusion", "conditional"), ("pdp-diffusion", "unconditional")}


def test_the_lite_twin_of_resources_has_the_methods_of_its_table() -> None:
    twin, full = (read_grid(folder / "resources.toml").units for folder in (EXPERIMENTS / "lite", EXPERIMENTS))
    assert [unit.spec.method for unit in twin] == [unit.spec.method for unit in full]
    assert {(unit.spec.epsilon, unit.spec.seed) for unit in twin} == {(10.0, 0)}


def test_the_plan_says_what_stands_how_and_why(small: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    text = small.read_text() + (
        '[[rows]]\nmethod = "dpdmm"\nepsilon = 1\n'
        '[[rows]]\nmethod = "uniform"\nepsilon = 1\npublic = "omniglot-28"\n'
        '[[rows]]\nmethod = "dp-feta"\nepsilon = 0.1\n'
        '[[rows]]\nmethod = "dp-means"\nepsilon = 1\nseed = 9\ngpu = true\n'
    )
    held = Workspace(runs, make_spec("dp-means", "digits", 1.0, "demo", 1)).folder
    ours, old = (prepare(make_spec("dp-means", "digits", *rest)) for rest in ((1.0, "demo", 0), (0.2, "demo", 7)))
    Workspace(runs, ours.spec).begin(ours.plan("cuda:1"))
    changed = {"config": {"clipping_norm": 3.0}, "changed": ("clipping_norm",), "core_digest": "0" * 64}
    Workspace(runs, old.spec).begin(old.plan("cpu").model_copy(update=changed))
    with exclusive(held):
        plan = make_plan(read_grid(_write(tmp_path / "more.toml", text)), runs, device="cpu")
    standing = {one.unit.name: (one.standing, one.reason) for one in plan.units}
    assert standing["dp-means digits ε=1 seed 1"] == ("running", "")
    assert standing["dp-means digits ε=1 seed 0"] == ("missing", ""), "a begun run is continued on any device"
    state, reason = standing["dp-means digits ε=0.2 seed 7"]
    assert state == "impossible" and "was begun under other conditions (settings, dpib code). A half-finished" in reason
    assert standing["dpdmm digits ε=1 seed 0"] == ("impossible", "method not installed: dpdmm")
    assert "does not use public data" in standing["uniform +omniglot-28 digits ε=1 seed 0"][1]
    state, reason = standing["dp-feta digits ε=0.1 seed 0"]
    assert state == "impossible" and "central_noise_multiplier cost ε" in reason
    assert standing["dp-means digits ε=1 seed 9"] == ("impossible", "needs a GPU; there is none here")
    assert plan.unknown == len(plan.standing("missing")) == 7


def test_a_plan_that_no_record_is_like_does_not_say_that_it_takes_no_time(small: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plan", str(small), "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert "9 runs: 9 missing." in done.stdout
    assert "Missing: how long it takes is unknown" in done.stdout and "0 s" not in done.stdout


def test_estimates_know_the_records_of_the_checkout_wherever_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unit = Unit(make_spec("dp-means", "mnist", 1.0, "lite", 99))
    (planned,) = make_plan(Grid("", "", "", (unit,), ()), tmp_path / "runs", device="cpu").units
    assert planned.estimate.runs > 0


def test_a_begun_run_that_cannot_be_continued_is_named_and_ends_in_an_error(tmp_path: Path) -> None:
    text = '[base]\ntrack="demo"\ndatasets="digits"\nepsilons=1\n[[runs]]\nmethods="uniform"\nseeds=[0, 1]\n'
    grid, runs = _write(tmp_path / "two.toml", text), tmp_path / "runs"
    old = prepare(make_spec("uniform", "digits", 1.0, "demo", 1))
    Workspace(runs, old.spec).begin(old.plan("cpu").model_copy(update={"method_digest": "0" * 64}))
    done = CliRunner().invoke(app, ["run", str(grid), "--runs", str(runs), "--quiet", "--device", "cpu"])
    assert done.exit_code == 1 and "Skipped 1 run: " in done.stderr and "(method code)" in done.stderr
    assert ".." not in done.stderr.partition("Skipped")[2]
    assert len(list(runs.rglob("record.json"))) == 1


def test_ten_thousand_units_are_planned_quickly(tmp_path: Path) -> None:
    specs = [make_spec("dp-means", "digits", 1 + n // 10 / 100, "demo", n % 10) for n in range(10_000)]
    began = time.monotonic()
    plan = make_plan(Grid("", "", "", tuple(Unit(spec) for spec in specs), ()), tmp_path)
    took = time.monotonic() - began
    assert len(plan.standing("missing")) == 10_000
    assert took < 60, f"{took:.1f} s, where an idle machine takes a few"


def test_the_command_runs_what_is_missing_and_the_estimate_learns(small: Path, tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    small.write_text(small.read_text().replace("[1, 10]", "1"))
    call = CliRunner().invoke
    first = call(app, ["run", str(small), "--runs", runs, "--quiet", "--json"])
    assert first.exit_code == 0, first.output
    assert len(json.loads(first.stdout)) == 5
    assert "All logs" not in first.stdout
    again = call(app, ["run", str(small), "--runs", runs, "--quiet", "--json"])
    assert json.loads(again.stdout) == json.loads(first.stdout)
    more = _write(tmp_path / "more.toml", small.read_text() + '[[rows]]\nmethod = "uniform"\nepsilon = 3\n')
    units = json.loads(call(app, ["plan", str(more), "--runs", runs, "--json"]).stdout)["units"]
    assert [unit["state"] for unit in units] == ["done"] * 5 + ["missing"]
    assert units[-1]["seconds"] > 0 and units[-1]["memory_bytes"] > 0 and units[-1]["estimated_from"] == 2
    elsewhere = ["plan", str(small), "--runs", str(tmp_path / "none"), "--json"]
    assert {one["state"] for one in json.loads(call(app, [*elsewhere, "--also", runs]).stdout)["units"]} == {"done"}
    assert {one["state"] for one in json.loads(call(app, elsewhere).stdout)["units"]} == {"missing"}
    shown = call(app, ["run", str(small), "--runs", str(tmp_path / "none"), "--also", runs, "--quiet"])
    assert shown.exit_code == 0 and "dp-means" in shown.stdout, "what the store has is in the table"
    assert not list((tmp_path / "none").glob("*/*/*/*/record.json"))


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_device_that_is_none_is_refused_before_anything(command: str, small: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, str(small), "--runs", str(tmp_path / "runs"), "--device", "tpu"])
    assert done.exit_code == 2 and "Expected --device auto, cpu or cuda, got 'tpu'." in done.stderr
    assert done.stdout == "" and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["plan", "run", "report"])
def test_a_mistyped_store_is_refused_before_its_runs_start_again(command: str, small: Path, tmp_path: Path) -> None:
    arguments = [command, str(small), "--runs", str(tmp_path), "--also", str(tmp_path / "submisions")]
    refused = CliRunner().invoke(app, arguments + (["--out", str(tmp_path / "out")] if command == "report" else []))
    assert refused.exit_code == 2 and "submisions" in refused.output
    assert not (tmp_path / "out").exists()


def test_a_damaged_record_does_not_hide_the_others(tmp_path: Path) -> None:
    text = '[[runs]]\ntrack="demo"\nmethods=["uniform", "dp-means"]\ndatasets="digits"\nepsilons=1'
    command = ["run", str(_write(tmp_path / "grid.toml", text)), "--runs", str(tmp_path / "runs"), "--quiet"]
    assert CliRunner().invoke(app, command).exit_code == 0
    (record,) = (tmp_path / "runs").glob("*/*/uniform/*/record.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "created": "2020-01-01T00:00:00+00:00"}))
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and "dp-means" in again.stdout and "uniform" not in again.stdout
    assert "left out" in again.stderr


def _altered(path: Path, **settings: object) -> None:
    """Make a record that of a run with other settings; None: the setting is from after it."""
    record = load_record(path)
    config = {key: value for key, value in {**record.method.config, **settings}.items() if value is not None}
    other = record.model_copy(update={"method": record.method.model_copy(update={"config": config})})
    path.write_text(other.model_copy(update={"id": other.content_digest}).to_json())


def test_a_run_of_other_presets_is_no_seed_of_a_grid(tmp_path: Path) -> None:
    text = '[[runs]]\ntrack="demo"\nmethods="dp-means"\ndatasets="digits"\nepsilons=1\nseeds=[0, 1]\n'
    grid, runs = str(_write(tmp_path / "grid.toml", text)), tmp_path / "runs"
    command = ["run", grid, "--quiet", "--json", "--device", "cpu"]
    assert CliRunner().invoke(app, [*command, "--runs", str(runs)]).exit_code == 0
    changed, newer = (Workspace(runs, unit.spec).record_path for unit in read_grid(Path(grid)).units)
    _altered(changed, clipping_rms=3.0)
    _altered(newer, clipping_rms=None)
    here = make_plan(read_grid(Path(grid)), runs, device="cpu")
    assert [one.standing for one in here.units] == ["impossible", "done"], "a setting from after a record is no change"
    assert "holds a finished run with another clipping_rms: the presets of dp-means changed" in here.units[0].reason
    done = CliRunner().invoke(app, [*command, "--runs", str(runs)])
    assert done.exit_code == 1 and "Skipped 1 run: " in done.stderr
    assert [one["id"] for one in json.loads(done.stdout)] == [load_record(newer).id]
    elsewhere = [*command, "--runs", str(tmp_path / "others"), "--also", str(runs)]
    (missing,) = make_plan(read_grid(Path(grid)), tmp_path / "others", device="cpu", also=[runs]).standing("missing")
    assert missing.reason == "its record is of a run with another clipping_rms: the presets of dp-means changed since"
    done = CliRunner().invoke(app, elsewhere)
    assert done.exit_code == 0, done.output
    shown = [one["id"] for one in json.loads(done.stdout)]
    assert len(shown) == 2 and load_record(changed).id not in shown and load_record(newer).id in shown


@pytest.mark.parametrize(
    ("of_record", "of_review", "counts"),
    [
        ({}, {}, True),
        ({}, {"accepted": False}, False),
        ({}, {"invalidated": "a bug"}, False),
        ({"invalidated": "a bug"}, {}, False),
        ({}, {"accepted": False, "record": "0" * 64}, True),
    ],
)
def test_what_was_refused_or_withdrawn_is_neither_done_nor_in_the_table(
    of_record: dict[str, str], of_review: dict[str, object], counts: bool, tmp_path: Path
) -> None:
    shipped = next((EXPERIMENTS.parent / "submissions").glob("lite-v1/mnist/uniform/*"))
    folder = tmp_path / "store/lite-v1/mnist/uniform/0"
    folder.mkdir(parents=True)
    record = load_record(shipped / "record.json").model_copy(update=of_record)
    record = record.model_copy(update={"id": record.content_digest})
    _write(folder / "record.json", record.to_json())
    review = {**json.loads((shipped / "review.json").read_text()), "record": record.id, **of_review}
    _write(folder / "review.json", json.dumps(review))
    grid = Grid("", "", "", (Unit(record.task.spec),), ())
    (planned,) = make_plan(grid, tmp_path / "runs", device="cpu", also=[tmp_path / "store"]).units
    assert (planned.standing == "done") is counts
    if planned.standing == "missing":
        assert planned.reason == "its record is of a run that was refused or withdrawn"
    assert len(records_below([tmp_path / "store"])) == counts
    Workspace(tmp_path / "store", record.task.spec).folder.mkdir(exist_ok=True)
    folder.rename(Workspace(tmp_path / "store", record.task.spec).folder)
    (here,) = make_plan(grid, tmp_path / "store", device="cpu").units
    assert here.standing == ("done" if counts else "impossible"), "there the run would be found finished"


def test_a_folder_that_is_taken_at_the_last_moment_is_waited_for_and_then_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "BUSY_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(child, "is_held", lambda folder: False, raising=False)
    (task,) = _tasks(tmp_path, works="well")
    folder = Workspace(tmp_path / "runs", RunSpec.from_plain(task.spec)).folder
    with exclusive(folder):
        answer = child._do(task, lambda message: None)
    assert answer["state"] == "busy" and str(folder) in answer["message"]
    monkeypatch.setattr(child, "BUSY_AFTER_SECONDS", 60.0)
    with ExitStack() as held:
        held.enter_context(exclusive(folder))
        monkeypatch.setattr(child.time, "sleep", lambda seconds: held.close())
        assert child._do(task, lambda message: None)["state"] == "done"


def test_a_gpu_that_a_task_names_is_left_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = []

    class Recorded:
        def __init__(self, environment: dict[str, str]) -> None:
            environments.append(environment.get("CUDA_VISIBLE_DEVICES"))

        def run(self, task: Task, on_event: object) -> Outcome:
            return Outcome(task.digest, task.name, "done")

        def end(self) -> None:
            pass

    monkeypatch.setattr("dpib.grids.local.TaskProcess", Recorded)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    for device in ("cuda", "cuda:1"):
        tasks = [dataclasses.replace(task, device=device) for task in _tasks(tmp_path, one="well", two="well")]
        list(LocalRunner(RunnerSettings(jobs=2)).run(tasks, lambda digest, event: None))
    assert environments == ["4", "5", None, None]


def _tasks(tmp_path: Path, timeout: float | None = None, **how: str) -> list[Task]:
    plugin = _write(tmp_path / "faulty.py", FAULTY)
    return [
        Task(
            name,
            make_spec("faulty", "digits", 1.0, "demo", overrides={"how": value}).model_dump(mode="json"),
            str(tmp_path / "runs"),
            plugins=(str(plugin),),
            timeout_seconds=timeout,
        )
        for name, value in how.items()
    ]


def test_one_failing_run_stops_no_other_and_is_noted(tmp_path: Path) -> None:
    tasks = _tasks(tmp_path, raises="raises", works="well")
    events: list[str] = []
    outcomes = {one.name: one for one in run_tasks(LocalRunner(RunnerSettings()), tasks, lambda d, e: events.append(d))}
    assert outcomes["works"].state == "done" and outcomes["works"].record
    assert outcomes["raises"].state == "failed"
    assert outcomes["raises"].message.startswith("faulty failed: ValueError: not today (")
    assert "in fit" in outcomes["raises"].traceback
    noted = failures(tmp_path / "runs")
    assert {one.name for one in noted.values()} == {"raises"}
    assert "must not disturb" in tasks[1].log.read_text()
    assert tasks[1].digest in events


@pytest.mark.slow
def test_a_time_out_ends_the_whole_process_group(tmp_path: Path) -> None:
    (outcome,) = run_tasks(LocalRunner(RunnerSettings()), _tasks(tmp_path, 25, hangs="hangs"), lambda d, e: None)
    assert outcome.state == "timed-out" and outcome.attempts == 1
    assert not _children_asleep(tmp_path), "a grandchild outlived the time-out"


@pytest.mark.slow
def test_a_process_that_dies_is_resumed_twice_and_then_given_up(tmp_path: Path) -> None:
    (outcome,) = run_tasks(LocalRunner(RunnerSettings()), _tasks(tmp_path, dies="dies"), lambda d, e: None)
    assert outcome.state == "killed" and outcome.attempts == 3 and "exit code 7" in outcome.message


class _Fake(TaskProcess):
    """Starts a command of the shell in place of a child."""

    command = "exit 7"

    def _start(self, limit: str | None) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", self.command]
        made = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._child = made
        if self.command == "exit 7":
            made.wait()
        return made


def test_the_time_of_a_run_is_that_of_all_attempts(tmp_path: Path) -> None:
    process = _Fake()
    process.command = "sleep 2; exit 7"
    (task,) = _tasks(tmp_path, 3.0, works="well")
    outcome = process.run(task, lambda event: None)
    assert outcome.state == "timed-out" and outcome.attempts == 2 and outcome.seconds < 4


def test_a_child_that_ends_before_its_task_is_sent_is_one_that_was_killed(tmp_path: Path) -> None:
    (task,) = _tasks(tmp_path, works="well")
    outcome = _Fake().run(task, lambda event: None)
    assert outcome.state == "killed" and outcome.attempts == 3 and "exit code 7" in outcome.message


@pytest.mark.parametrize(("given", "tried"), [("", ["16", "4", "1"]), ("8", ["4", "1"]), ("1", [])])
def test_after_running_out_of_memory_passes_get_smaller(given: str, tried: list[str], tmp_path: Path) -> None:
    limits = []

    class OutOfMemory(TaskProcess):
        def _once(self, task: Task, emit: Emit, limit: str | None, deadline: float | None) -> Outcome:
            limits.append(limit)
            return Outcome(task.digest, task.name, "out-of-memory")

    (task,) = _tasks(tmp_path, works="well")
    assert OutOfMemory({IMAGES_PER_PASS: given}).run(task, lambda event: None).state == "out-of-memory"
    assert limits == [None, *tried]


def _children_asleep(tmp_path: Path) -> list[str]:
    """Return processes of this test's runs folder that still live, found by the folder they log to."""
    alive = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(tmp_path) in str(link.readlink()) for link in (entry / "fd").iterdir()):
                alive.append(entry.name)
        except OSError:
            continue
    return [name for name in alive if int(name) != os.getpid()]


@pytest.mark.slow
def test_when_the_driver_is_killed_nothing_outlives_it_and_the_next_call_finishes(tmp_path: Path) -> None:
    grid = _write(
        tmp_path / "grid.toml", '[[runs]]\ntrack="demo"\nmethods="dp-means"\ndatasets="digits"\nepsilons=[1,2]'
    )
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "dpib", "run", str(grid), "--runs", str(runs), "--json"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 200
    while not list(runs.glob("*/*/*/*/run.json")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    until = time.monotonic() + 20
    while _children_asleep(runs) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _children_asleep(runs), "an orphan holds the run folder"
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 2


@pytest.mark.slow
def test_failures_make_exit_code_1_and_impossible_runs_are_skipped(tmp_path: Path) -> None:
    plugin = _write(tmp_path / "faulty.py", FAULTY)
    text = (
        '[base]\ntrack="demo"\ndatasets="digits"\nepsilons=1\n[[runs]]\nmethods="faulty"\n'
        'overrides=[{how="raises"}]\n[[runs]]\nmethods=["uniform", "no-such-method"]\n'
    )
    grid = _write(tmp_path / "grid.toml", text)
    command = [sys.executable, "-m", "dpib", "run", str(grid), "--runs", str(tmp_path / "runs")]
    done = subprocess.run([*command, "--plugin", str(plugin)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not today" in done.stderr and "1 of 2 runs are not done" in done.stderr
    assert "Skipped 1 run: method not installed: no-such-method" in done.stderr
    assert "uniform" in done.stdout


def _plan_on_drawings(tmp_path: Path, blocks: str) -> Plan:
    base = '[base]\ntrack="lite"\ndatasets="mnist"\nepsilons=10\npublic="omniglot-28"\n'
    plan = make_plan(read_grid(_write(tmp_path / "grid.toml", base + blocks)), tmp_path / "runs")
    if any("dataset absent" in one.reason for one in plan.units):
        pytest.skip("needs the image mirror")
    return plan


def test_runs_wait_for_a_pretraining_only_when_nothing_else_is_left(tmp_path: Path) -> None:
    plan = _plan_on_drawings(
        tmp_path,
        '[[runs]]\nmethods=["dp-merf", "dp-gan"]\nseeds=[0,1]\n[[runs]]\nmethods="dp-means"\npublic="none"\n',
    )
    assert [shared.runs for shared in plan.pretrainings] == [2, 2]
    tasks = [(task.spec["method"], task.spec["seed"]) for task in tasks_of(plan, tmp_path)]
    assert tasks == [("dp-merf", 0), ("dp-gan", 0), ("dp-means", 0), ("dp-merf", 1), ("dp-gan", 1)]


def test_methods_on_one_network_share_a_pretraining_in_the_plan(tmp_path: Path) -> None:
    plan = _plan_on_drawings(tmp_path, '[[runs]]\nmethods=["pdp-diffusion", "dp-ldm-sd"]\n')
    assert [shared.runs for shared in plan.pretrainings] == [2]


def test_what_a_query_chose_or_another_seed_drew_is_nobody_elses_pretraining(tmp_path: Path) -> None:
    seeds = '[[runs]]\nmethods="pdp-diffusion"\nseeds=[0,1]\npublic="omniglot-28:'
    selected = _plan_on_drawings(tmp_path, f'{seeds}5%"\n')
    assert [shared.runs for shared in selected.pretrainings] == [2], "the classifier that both make the query with"
    drawn = _plan_on_drawings(tmp_path, f'{seeds}random-5%"\n')
    assert [shared.runs for shared in drawn.pretrainings] == [1, 1]


def _recorded(
    folder: Path, spec: RunSpec, seconds: dict[str, float], device: str = "cpu", total: float = 500.0
) -> None:
    """Leave a record that tells what a plan reads."""
    document = {
        "id": spec.digest,
        "method": {"config": {}},
        "task": {"spec": spec.model_dump(mode="json")},
        "status": "complete",
        "cost": {"seconds": seconds, "total_seconds": total, "peak_memory_bytes": 1, "device": device},
    }
    path = folder / "lite-v1/mnist/pdp-diffusion/run/record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))


def test_a_pretraining_that_a_finished_run_made_here_is_not_planned_again(tmp_path: Path) -> None:
    seeds = '[[runs]]\nmethods="pdp-diffusion"\nseeds=[0,1]\n'
    assert [shared.runs for shared in _plan_on_drawings(tmp_path, seeds).pretrainings] == [2]
    done = make_spec("pdp-diffusion", "mnist", 10, public="omniglot-28")
    _recorded(tmp_path / "store", done, {})
    grid = read_grid(tmp_path / "grid.toml")
    elsewhere = make_plan(grid, tmp_path / "runs", also=[tmp_path / "store"])
    assert [shared.runs for shared in elsewhere.pretrainings] == [1], "a store holds records alone"
    _recorded(tmp_path / "runs", done, {})
    assert make_plan(grid, tmp_path / "runs").pretrainings == ()


def test_the_cost_of_a_pretraining_is_known_from_the_run_that_made_it(tmp_path: Path) -> None:
    spec = make_spec("pdp-diffusion", "mnist", 10, public="omniglot-28")
    for seed, seconds in ((1, {"public pretraining": 300.0}), (2, {"public pretraining": 0.2})):
        _recorded(tmp_path / str(seed), spec.model_copy(update={"seed": seed}), seconds)
    both = Past((tmp_path / "1", tmp_path / "2"))
    assert both.pretraining(spec, "cpu") == 300.0
    assert both.estimate(spec, "cpu").seconds == pytest.approx((200.0 + 499.8) / 2)
    assert Past((tmp_path / "2",)).pretraining(spec, "cpu") is None, "it found it made"
    _recorded(tmp_path / "3", spec, {"public pretraining": 0.2, "wait for pretraining": 300.0})
    waited = Past((tmp_path / "3",))
    assert waited.pretraining(spec, "cpu") is None and waited.estimate(spec, "cpu").seconds == pytest.approx(199.8)


def test_times_come_from_runs_on_the_same_kind_of_device_if_there_are_any(tmp_path: Path) -> None:
    spec = make_spec("pdp-diffusion", "mnist", 10, public="omniglot-28")
    _recorded(tmp_path / "1", spec, {"public pretraining": 300.0})
    _recorded(tmp_path / "2", spec.model_copy(update={"seed": 1}), {"public pretraining": 20.0}, "cuda:0", 50.0)
    past = Past((tmp_path / "1", tmp_path / "2"))
    unlike = make_spec("pdp-diffusion", "mnist", 1, public="omniglot-28:5%")
    assert [past.estimate(spec, device).seconds for device in ("cpu", "cuda")] == [200.0, 30.0]
    assert [past.pretraining(spec, device) for device in ("cpu", "cuda")] == [300.0, 20.0]
    assert past.estimate(unlike, "cuda").seconds == 30.0, "the device counts more than the public data"
    assert Past((tmp_path / "1",)).estimate(spec, "cuda").seconds == 200.0


def test_a_limit_on_passes_holds_for_new_and_resumed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIMIT == IMAGES_PER_PASS
    monkeypatch.setenv(LIMIT, "16")
    batches = PhysicalBatches(64, print)
    assert batches.size == 16
    batches.load_state_dict({"size": 64})
    assert batches.size == 16
    batches.load_state_dict({"size": 4})
    assert batches.size == 4


def test_an_address_without_a_cluster_is_refused(small: Path) -> None:
    for command in (["run", str(small)], ["audit", "dp-means"]):
        refused = CliRunner().invoke(app, [*command, "--address", "auto"])
        assert refused.exit_code == 2 and "drop --address" in refused.output


def test_a_runner_of_grids_only_says_so_to_an_audit() -> None:
    class GridsOnly(Runner):
        def run(self, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
            yield from ()

    with pytest.raises(ConfigError, match="grids only"):
        GridsOnly(RunnerSettings()).compute([], [], print)


def test_outcomes_are_plain_enough_to_keep(tmp_path: Path) -> None:
    outcome = Outcome("d", "n", "failed", "m", "t")
    assert Outcome(**json.loads(json.dumps(outcome.__dict__))) == outcome
