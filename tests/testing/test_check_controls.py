"""The suite tells right from wrong: four methods pass, and on each broken one just the intended checks fail."""

from __future__ import annotations

import pytest
from dpib_controls import Control, controls

from dpib import plugins
from dpib.testing import check_method
from dpib.testing.checks import CHECKS
from dpib.testing.tiny import run_tiny, tiny_images

CONTROLS = controls()


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_exactly_the_intended_checks_fail(control: Control) -> None:
    verdict = check_method(control)
    evidence = {result.id: result.detail for result in verdict.with_outcome("failed")}
    assert tuple(sorted(evidence)) == tuple(sorted(control.flagged_by)), evidence
    if control.must == "pass":
        assert verdict.holds, verdict.with_outcome("undecided")
    else:
        assert not verdict.holds


def test_there_are_those_of_the_specification_and_two_on_disjoint_parts() -> None:
    by_fate = {must: {name for name, one in CONTROLS.items() if one.must == must} for must in ("pass", "flag")}
    assert by_fate["pass"] == {"gaussian-mean", "gaussian-mean-2x", "dp-sgd-tiny", "part-means"}
    assert len(by_fate["flag"]) == 11
    known = {check.id for check in CHECKS}
    for control in CONTROLS.values():
        assert set(control.flagged_by) <= known
        assert (control.must == "flag") == bool(control.flagged_by or control.audited)


def test_controls_are_methods_that_nobody_can_find_by_name() -> None:
    assert not {status.name for status in plugins.load_all()} & set(CONTROLS)


@pytest.mark.parametrize("name", ["gaussian-mean", "no-noise", "memoriser"])
def test_controls_run_in_the_tiny_harness(name: str) -> None:
    run = run_tiny(CONTROLS[name], tiny_images())
    assert run.released.images.shape == (40, 1, 8, 8)
    assert run.ledger.spent() <= 10
