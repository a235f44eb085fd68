"""Games, copy test and whole audits on the controls and on dp-means; sizes cut to seconds."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dpib import catalogue
from dpib.audit import controls, curves, run
from dpib.audit.canaries import base_set, canary, joined
from dpib.audit.copying import UNPLANTED, Copies, CopyJob, near_p_value
from dpib.audit.games import Claim, Game, Worlds, jobs_of, play, power
from dpib.audit.observed import Subject, queries, watch
from dpib.audit.onerun import OneRunJob, pooled
from dpib.audit.profiles import Profile, profile
from dpib.audit.report import AuditReport, load_report
from dpib.errors import ConfigError, RecordError, UnknownName
from dpib.grids.base import RunnerSettings
from dpib.grids.local import LocalRunner
from dpib.progress import Reporter
from dpib.testing.tiny import tiny_config

GAME = Game("empty-class", "noise")
SMALL = Profile("quick", 40, (("empty-class", "noise"),), copy_runs=2, detects_half_noise=False)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def subject(name: str, noise_factor: float = 1.0, epsilon: float = 10.0) -> Subject:
    method = controls.load_controls().get(name) or catalogue.method(name)
    return Subject(method, epsilon, tiny_config(method, epsilon), noise_factor)


def verdict_on(name: str, runs: int, level: float = 0.05, noise_factor: float = 1.0) -> bool:
    one = subject(name, noise_factor)
    todo = jobs_of(one, [GAME], runs)
    worlds = Worlds((job, job.work()) for job in todo)
    (events,) = worlds.ledgers(one)
    return play(worlds, one, GAME, Claim(events, curves.of_events(events), 10.0, run.DELTA, level)).refuted


@pytest.mark.parametrize("name", ["no-noise", "unclipped", "exact-label-counts"])
def test_gross_bugs_are_refuted_in_a_hundred_runs(name: str) -> None:
    assert verdict_on(name, 100)


@pytest.mark.parametrize("name", ["gaussian-mean", "gaussian-mean-2x"])
def test_correct_noise_is_not_refuted(name: str) -> None:
    """At level 1e-6 a correct mechanism is refuted once in a million repetitions."""
    assert not verdict_on(name, 60, level=1e-6)


def test_noise_halved_by_the_harness_is_seen() -> None:
    """The score of a halved run has a signal-to-noise ratio of 4.9; 250 runs miss it with negligible probability."""
    assert verdict_on("gaussian-mean", 250, noise_factor=0.5)


def test_replays_show_the_canary_at_full_sensitivity_and_the_answer_without_it() -> None:
    base, z = base_set("empty-class"), canary("noise")
    within = joined(base, z)
    for data, present in ((base, 0.0), (within, 1.0)):
        (query,) = queries(watch(subject("gaussian-mean"), data), base, within) or []
        assert query.reach == pytest.approx(1.0)
        noise = (query.residual - present * query.contribution) / query.std
        assert 0.5 < float(noise.std()) < 1.5


def test_a_sampled_query_knows_the_canary_even_in_steps_it_did_not_enter() -> None:
    base, z = base_set("empty-class"), canary("checkerboard")
    found = queries(watch(subject("dp-sgd-tiny"), base), base, joined(base, z))
    assert found is not None
    assert len(found) == 10
    assert all(query.reach == pytest.approx(1.0, rel=1e-3) and query.sample_rate == 0.2 for query in found)


def test_own_noise_gives_no_queries_to_see() -> None:
    base = base_set("empty-class")
    assert queries(watch(subject("half-noise"), base), base, joined(base, canary("noise"))) is None


def test_power_of_games_with_half_noise_is_high_and_with_full_noise_low() -> None:
    one, halved = subject("gaussian-mean"), subject("gaussian-mean", 0.5)
    todo = jobs_of(halved, [GAME], 150)
    worlds = Worlds((job, job.work()) for job in todo)
    (events,) = worlds.ledgers(one)
    assert power(worlds, one, GAME, Claim(events, curves.of_events(events), 10.0, run.DELTA, 0.05)) > 0.5


def test_a_method_with_the_name_of_a_control_is_judged_by_its_own_runs() -> None:
    control = subject("gaussian-mean")
    card = control.method.card.model_copy(update={"name": "no-noise"})
    theirs = subject("no-noise")
    namesake = replace(control, method=replace(control.method, method=replace(control.method.method, card=card)))
    todo = [*jobs_of(namesake, [GAME], 3), *jobs_of(theirs, [GAME], 2)]
    worlds = Worlds((job, job.work()) for job in todo)
    for one, runs in ((namesake, 3), (theirs, 2)):
        without, within, _, _ = worlds.of(one, GAME)
        assert len(without) == len(within) == runs
        assert len(worlds.ledgers(one)) == 1


def test_the_copy_test_finds_the_memoriser_and_nothing_else() -> None:
    found = CopyJob(subject("memoriser"), 2).work()
    assert [one.exact for one in found] == [5, 5]
    honest = CopyJob(subject("gaussian-mean"), 2).work()
    assert [one.exact for one in honest] == [0, 0]
    assert all(1 <= one.rank <= UNPLANTED + 1 for one in honest)


def test_near_copies_refute_only_when_a_claim_does_not_allow_them() -> None:
    near = [Copies(0, 1)] * 10
    assert near_p_value(near, curves.of_guarantee(1.0, 1e-5)) < 1e-20
    assert near_p_value(near, curves.of_guarantee(10.0, 1e-5)) > 0.5
    assert near_p_value([Copies(0, 50_000)] * 10, curves.of_guarantee(1.0, 1e-5)) == 1


def test_one_run_guesses_see_a_method_without_noise() -> None:
    total = pooled([OneRunJob(subject("gaussian-mean", 1e-6), 40).work() for _ in range(3)])
    assert (total.coins, total.guesses) == (120, 24)
    assert total.correct == 24


def test_many_canaries_of_one_run_are_told_apart_where_there_is_no_noise() -> None:
    """They share 256 numbers. Scored each by its own alone, about 52 guesses would be right."""
    found = OneRunJob(subject("gaussian-mean", epsilon=1e5), 300).work()
    assert found.guesses == 60
    assert found.correct >= 58


def test_a_claim_that_no_guesses_could_refute_is_refused() -> None:
    method = controls.load_controls()["gaussian-mean"]
    with pytest.raises(ConfigError, match="even with all 400 guesses of 2000 coins right"):
        run.audit(method, profile("one-run"), epsilon=10.0)


def test_an_audit_of_a_correct_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "STATISTICAL", ("gaussian-mean", "unclipped"))
    monkeypatch.setattr(controls, "BY_CHECK", ())
    events: list[int] = []
    reporter = Reporter(lambda event: events.append(event.done))
    wide = replace(SMALL, runs=100)
    report = run.audit(catalogue.method("dp-means"), wide, reporter=reporter)
    assert report.verdict == "not refuted", report.statement
    assert report.statement.startswith("not refuted at ε_lb = ")
    assert report.games[0].reach == pytest.approx(1.0)
    assert (report.games[0].n0, report.games[0].n1) == (50, 50)
    assert {one.name for one in report.controls} == {"gaussian-mean", "unclipped", "memoriser"}
    assert max(events) >= 800
    report.save(tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == report
    assert "verified" not in json.dumps(report.model_dump(mode="json"))


def test_an_audit_of_a_memoriser_is_refuted_and_one_with_a_blind_control_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "STATISTICAL", ())
    monkeypatch.setattr(controls, "BY_CHECK", ())
    known = controls.load_controls()
    report = run.audit(known["memoriser"], replace(SMALL, runs=20))
    assert report.verdict == "refuted"
    assert report.statement.startswith("refuted: copies: ")
    monkeypatch.setattr(controls, "STATISTICAL", ("no-noise",))
    blind = run.audit(catalogue.method("dp-means"), replace(SMALL, runs=8))
    assert blind.verdict == "void"
    assert blind.statement.startswith("void: the control no-noise was judged wrongly")


def test_references_without_a_claim_are_refused() -> None:
    with pytest.raises(ConfigError, match="claims no privacy"):
        run.audit(catalogue.method("real"), SMALL)
    with pytest.raises(UnknownName, match="standard"):
        profile("standart")


def test_a_damaged_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No audit report"):
        load_report(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(RecordError, match="not an audit report"):
        load_report(tmp_path / "bad.json")
    assert "statement" not in AuditReport.model_fields


class Refusing:
    """A job that fails."""

    def work(self) -> None:
        raise UnknownName("method", "nothing", ["anything"])


def test_an_error_in_a_worker_ends_all_workers_and_arrives_as_it_was() -> None:
    with pytest.raises(UnknownName, match="No method named 'nothing'"):
        LocalRunner(RunnerSettings(jobs=2)).compute([Refusing(), Refusing()], [], print)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_interrupted_audits_leave_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dpib", "audit", "dp-means", "--jobs", "2", "--out", str(tmp_path / "r.json")]
    audit = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    time.sleep(20)
    os.killpg(audit.pid, 2)
    _, errors = audit.communicate(timeout=60)
    assert audit.returncode == 130
    assert "Traceback" not in errors
    alive = ["pgrep", "--runstates", "D,R,S,T", "-g", str(audit.pid)]  # a dead child of a dead parent waits for init
    assert subprocess.run(alive, capture_output=True, text=True, check=False).stdout == ""
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_half_noise_is_refuted_in_29_of_29_repetitions() -> None:
    assert [verdict_on("half-noise", 250) for _ in range(29)] == [True] * 29
