"""When a recomputed score confirms a recorded one."""

from __future__ import annotations

import pytest

from dpib.agreement import as_good, scores_agree


@pytest.mark.parametrize(
    ("difference", "stderr", "agrees"),
    [
        (0.0, None, True),
        (1.99, 0.5, True),
        (2.01, 0.5, False),
        (3.0, 2.0, True),  # 300 test images: nine of them
        (4.1, 2.0, False),
    ],
)
def test_accuracies_agree_within_two_points_or_two_standard_errors(
    difference: float, stderr: float | None, agrees: bool
) -> None:
    assert scores_agree("accuracy", 80.0, 80.0 + difference, stderr) == agrees
    assert scores_agree("accuracy", 80.0, 80.0 - difference, stderr) == agrees


def test_standard_errors_widen_no_other_metric() -> None:
    assert not scores_agree("fid", 10.0, 10.5, 2.0)
    assert scores_agree("fid", 10.0, 10.19)
    assert scores_agree("calibration-error", 10.0, 10.9) and not scores_agree("calibration-error", 10.0, 11.1, 2.0)
    assert scores_agree("accuracy-worst-class", 50.0, 54.9) and not scores_agree("accuracy-worst-class", 50.0, 55.1)


def test_an_undefined_score_agrees_with_nothing() -> None:
    assert not scores_agree("accuracy", None, None)
    assert not scores_agree("accuracy", 80.0, None, 9.0)


@pytest.mark.parametrize(("claimed", "good"), [(417, True), (389, True), (388, False), (500, True)])
def test_an_epoch_is_as_good_within_the_rounding_of_two_trainings(claimed: int, good: bool) -> None:
    assert as_good(417, claimed, 833) == good  # 50 %, two standard errors: 3.5 points, 28 images


def test_a_perfect_epoch_leaves_two_points() -> None:
    assert as_good(1000, 980, 1000) and not as_good(1000, 979, 1000)
