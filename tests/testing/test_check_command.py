"""``dpib check`` on what dpib brings and on a scaffold; its verdict gets into the record of the code it is about."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dpib
from dpib import catalogue
from dpib.cli.main import app
from dpib.errors import RecordError
from dpib.machine import core_digest
from dpib.new import write_plugin
from dpib.records import load_record
from dpib.testing import check_method, conformance
from dpib.testing.tiny import run_tiny, tiny_images
from dpib.testing.watch import Read, watched
from dpib.verdicts import SUITE_VERSION, Verdict, VerdictStore

BUILT_IN = [method.card.name for method in catalogue.methods() if method.distribution == "dpib"]

test_check = conformance(*BUILT_IN)


def test_every_method_of_dpib_is_among_them() -> None:
    assert {"dp-merf", "dp-means", "uniform", "real"} <= set(BUILT_IN)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return check_method(catalogue.method("uniform"))


def test_the_command_prints_a_verdict_and_keeps_it(tmp_path: Path) -> None:
    arguments = ["check", "uniform", "--json", "--quiet", "--runs", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    printed = Verdict.from_plain(json.loads(result.stdout))
    assert printed.holds
    assert VerdictStore(tmp_path).find("uniform", printed.source_digest, core_digest()) == printed


def test_a_run_of_checked_code_carries_the_summary(tmp_path: Path, verdict: Verdict) -> None:
    unchecked = dpib.run("uniform", "digits", 1.0, track="demo", runs=tmp_path, quiet=True)
    assert unchecked.check is None
    assert "check" not in json.loads(unchecked.to_json())
    VerdictStore(tmp_path).keep(verdict)
    checked = dpib.run("uniform", "digits", 1.0, track="demo", seed=1, runs=tmp_path, quiet=True)
    assert checked.check == verdict.summary()
    assert checked.check.suite_version == SUITE_VERSION
    (path,) = tmp_path.glob("*/*/uniform/eps1-seed1-*/record.json")
    assert load_record(path) == checked


def test_a_verdict_on_other_code_is_not_found(tmp_path: Path, verdict: Verdict) -> None:
    store = VerdictStore(tmp_path)
    store.keep(verdict)
    assert store.find("uniform", verdict.source_digest, verdict.core_digest) == verdict
    assert store.find("uniform", "0" * 64, verdict.core_digest) is None
    assert store.find("uniform", verdict.source_digest, "0" * 64) is None
    assert store.find("real", verdict.source_digest, verdict.core_digest) is None


def test_a_failure_is_not_hidden_by_a_later_full_pass(tmp_path: Path, verdict: Verdict) -> None:
    first, *rest = verdict.results
    bad = verdict.model_copy(update={"results": (first.model_copy(update={"outcome": "failed"}), *rest)})
    store = VerdictStore(tmp_path)
    store.keep(bad)
    store.keep(verdict.model_copy(update={"profile": "full"}))
    found = store.find("uniform", verdict.source_digest, verdict.core_digest)
    assert found == bad
    assert found is not None and not found.holds and found.summary().failed == ("runs (contract)",)


def test_a_damaged_verdict_is_refused(tmp_path: Path, verdict: Verdict) -> None:
    VerdictStore(tmp_path).keep(verdict).write_text("{}")
    with pytest.raises(RecordError, match="damaged"):
        VerdictStore(tmp_path).find("uniform", verdict.source_digest, verdict.core_digest)


def test_undecided_is_not_a_pass(verdict: Verdict) -> None:
    first, *rest = verdict.results
    for outcome, holds in (("undecided", False), ("failed", False), ("not-applicable", True)):
        one = verdict.model_copy(update={"results": (first.model_copy(update={"outcome": outcome}), *rest)})
        assert one.holds is holds


def test_misuse_has_exit_code_2(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["check", "uniform", "--profile", "lazy", "--runs", str(tmp_path)]).exit_code == 2
    assert runner.invoke(app, ["check", "no-such-method", "--runs", str(tmp_path)]).exit_code == 2


def test_a_single_file_that_cheats_fails_with_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "cheat.py"
    path.write_text(
        "from dpib.api import Family, Method, MethodCard, Synthesizer, hookimpl\n"
        "class Cheat(Synthesizer):\n"
        "    def fit(self, private):\n"
        "        self.images = private._data.images\n"
        "    def generate(self, labels):\n"
        "        return self.images[labels]\n"
        "@hookimpl\n"
        "def dpib_synthesizers():\n"
        "    card = MethodCard(name='cheat', title='', summary='', family=Family.REFERENCE, noise_location=None)\n"
        "    return [Method(card, f'{__name__}:Cheat')]\n"
    )
    result = CliRunner().invoke(app, ["check", "cheat", "--plugin", str(path), "--quiet", "--runs", str(tmp_path)])
    assert result.exit_code == 1
    assert "access (F1 F8) failed" in result.stderr and "mend:" in result.stderr
    assert "copies (F17) failed" in result.stderr


def test_a_scaffold_passes_unedited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_plugin("scaffold-one", tmp_path)
    monkeypatch.syspath_prepend(folder / "src")
    import dpib_plugin_scaffold_one  # type: ignore[import-not-found]

    from dpib.contribution import InstalledMethod

    (method,) = dpib_plugin_scaffold_one.dpib_synthesizers()
    found = check_method(InstalledMethod(method, "dpib-plugin-scaffold-one", "0.1.0"))
    assert found.holds, [(one.id, one.detail) for one in found.with_outcome("failed", "undecided")]
    for name in [name for name in sys.modules if name.startswith("dpib_plugin_scaffold_one")]:
        del sys.modules[name]


def test_sensors_change_nothing() -> None:
    method, plain = catalogue.method("real"), tiny_images()
    reads: list[Read] = []
    seen = watched(plain, reads.append, lambda: True)
    ours, theirs = (run_tiny(method, data).released.images for data in (plain, seen))
    assert (ours == theirs).all() and type(theirs) is type(ours)
    assert {read.what for read in reads} == {"images", "labels", "number"}
