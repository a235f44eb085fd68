"""A real local Ray cluster: twelve runs that lose a worker and then their driver, and an audit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpib.audit.report import load_report
from dpib.errors import ConfigError, UnknownName
from dpib.grids.base import RunnerSettings, Task
from dpib.grids.execute import make_runner
from dpib.job import make_spec
from dpib.privacy.ledger import parse_charges, read_ledger_lines

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dpib[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

GRID = """
[base]
track = "demo"
datasets = "digits"
epsilons = [1, 10]
seeds = [0, 1]
[[runs]]
methods = ["dp-merf", "dp-means", "uniform"]
"""
OWN_SETTINGS = """

class Settings(MethodConfig):
    weight: float = 1.0


Toy.Config = Settings
"""
PORT = 6400 + os.getpid() % 3_000
"""Below the ports that Ray gives its workers."""


def _wait(until: Callable[[], object], what: str, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.25)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Start a cluster of its own with two workers' worth of CPUs, and end it by its process group."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whether an earlier cluster left a token here or not
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", str(PORT)]
    command += [
        "--node-ip-address",
        "127.0.0.1",
        "--num-cpus",
        "2",
        "--include-dashboard",
        "false",
        "--disable-usage-stats",
    ]
    with (tmp_path / "cluster.log").open("w") as out:
        head = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    log = tmp_path / "cluster.log"
    _wait(lambda: head.poll() is not None or "Ray runtime started" in log.read_text(), "the cluster", 120)
    assert head.poll() is None, log.read_text()
    yield f"127.0.0.1:{PORT}", head.pid
    head.terminate()
    head.wait(60)


def _busy_workers(head: int) -> list[int]:
    """Return the cluster's worker processes that have started the child process which does runs."""
    parents, commands = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue

    def below_head(process: int) -> bool:
        return process == head or (process in parents and below_head(parents[process]))

    children = [process for process, command in commands.items() if "dpib.grids.child" in command]
    return [parents[child] for child in children if below_head(child)]


def _drive(grid: Path, runs: Path, address: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dpib", "run", str(grid), "--runs", str(runs), "--runner", "ray"]
    with log.open("a") as out:
        return subprocess.Popen([*command, "--address", address], stdout=out, stderr=out, start_new_session=True)


def _records(runs: Path) -> dict[str, dict]:
    return {str(path.parent): json.loads(path.read_text()) for path in runs.glob("*/*/*/*/record.json")}


def test_a_lost_worker_and_a_lost_driver_cost_no_record(cluster: tuple[str, int], tmp_path: Path) -> None:
    grid, runs, log = tmp_path / "twelve.toml", tmp_path / "runs", tmp_path / "driver.log"
    address, head = cluster
    grid.write_text(GRID)
    driver = _drive(grid, runs, address, log)
    _wait(lambda: len(_records(runs)) >= 1 or driver.poll() is not None, "the first record")
    assert driver.poll() is None, log.read_text()
    workers = _busy_workers(head)
    assert workers, "no worker is busy"
    os.kill(workers[0], signal.SIGKILL)
    after_worker = len(_records(runs))
    _wait(lambda: len(_records(runs)) >= min(after_worker + 3, 9), "runs after the lost worker")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    at_kill = _records(runs)
    assert 0 < len(at_kill) < 12, "the driver was to be killed in the middle"
    print(f"{after_worker} records when a worker was killed, {len(at_kill)} when the driver was")

    again = _drive(grid, runs, address, log)
    assert again.wait(900) == 0, log.read_text()
    finally_there = _records(runs)
    assert len(finally_there) == 12
    assert {path: finally_there[path]["id"] for path in at_kill} == {path: one["id"] for path, one in at_kill.items()}
    for folder, record in finally_there.items():
        assert record["status"] == "complete"
        charges, _ = parse_charges(read_ledger_lines(Path(folder) / "ledger.jsonl"))
        labels = [(charge.side, charge.label) for charge in charges]
        assert len(labels) == len(set(labels)), f"{folder} paid twice"
        assert not (Path(folder) / "noise.secret").exists()
    starts = sum(path.read_text().count("== ") for path in (runs / ".grid" / "logs").glob("*.log"))
    assert starts <= 12 + 2 + 2, "finished runs were started again"


def test_an_audit_of_a_single_file_method_runs_on_a_cluster(cluster: tuple[str, int], tmp_path: Path) -> None:
    """Classes of the file travel to workers that load it first; what is judged is what one machine judges."""
    out = tmp_path / "toy.json"
    toy = tmp_path / "toy.py"
    toy.write_text((Path(__file__).parent / "toy.py").read_text() + OWN_SETTINGS)
    command = [sys.executable, "-m", "dpib", "audit", "toy", "--plugin", str(toy), "--profile", "quick"]
    command += ["--runner", "ray", "--address", cluster[0], "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = load_report(out)
    assert report.verdict == "not refuted"
    assert all(control.as_expected for control in report.controls)


def test_a_run_that_no_machine_can_do_fails_alone(cluster: tuple[str, int], tmp_path: Path) -> None:
    small, large = (
        Task(method, make_spec(method, "digits", 1.0, "demo").model_dump(mode="json"), str(tmp_path), **asks)
        for method, asks in (("uniform", {}), ("dp-means", {"memory_bytes": 1 << 50}))
    )
    runner = make_runner("ray", RunnerSettings(address=cluster[0]))
    outcomes = {one.name: one for one in runner.run([large, small], lambda digest, event: None)}
    assert outcomes["uniform"].state == "done"
    assert outcomes["dp-means"].state == "failed" and "1048576.0 GiB" in outcomes["dp-means"].message


@dataclass(frozen=True)
class Raising:
    """A job that fails."""

    error: Exception

    def work(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ConfigError("this setting"), ValueError("a bug"), UnknownName("method", "x", [])])
def test_what_a_job_raises_arrives_as_it_was(
    cluster: tuple[str, int], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find this module
    runner = make_runner("ray", RunnerSettings(address=cluster[0]))
    with pytest.raises(type(error), match=re.escape(str(error))) as found:
        runner.compute([Raising(error)], [], print)
    assert type(found.value) is type(error)
