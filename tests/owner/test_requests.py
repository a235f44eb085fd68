"""What ``dpib synthesize`` refuses before anything is read or spent, and how it chooses its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from own_folder import CLASSES, write_images
from typer.testing import CliRunner

from dpib import catalogue
from dpib.cli.main import app
from dpib.cli.options import parse_window
from dpib.errors import ConfigError, DataError
from dpib.owner.request import Ask, nearest_dataset, remarks, resolve

Make = Callable[..., Ask]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"nominal_size": None}, "How many images there are is private"),
        ({"classes": None}, "Which classes occur is private"),
        ({"count_is_public": True}, "one of --nominal-size and --count-is-public"),
        ({"folders_are_public": True}, "one of --classes and --folders-are-public"),
        ({"method": "real"}, "must not be released"),
        ({"method": "dp-marf"}, "Did you mean 'dp-merf'"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"nominal_size": 1}, "at least 100, got 1"),
        ({"nominal_size": 99}, "State --nominal-size 100"),
        ({"images_per_person": 0}, "images_per_person"),
        ({"side": 2}, "--size of at least 4"),
        ({"window": (4.0, 1.0)}, "LOW below HIGH"),
        ({"n_images": -3}, "n_images"),
        ({"title": "two\nlines"}, "title"),
        ({"public": "mnist"}, "not mnist"),
        ({"variant": "huge"}, "No variant of dp-merf named 'huge'"),
        ({"overrides": {"stpes": 3}}, "Did you mean 'steps'"),
    ],
)
def test_misuse_is_refused(ask: Make, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve(ask(**changes))


def test_images_and_release_do_not_lie_in_one_another(ask: Make, images: Path) -> None:
    for out in (images / "out", images, images.parent):
        with pytest.raises(ConfigError, match="must not lie in one another"):
            resolve(ask(out=out))
    with pytest.raises(DataError, match="No images"):
        resolve(ask(images=images / "absent"))


def test_count_and_folders_are_used_only_when_declared_public(ask: Make) -> None:
    declared = resolve(ask(nominal_size=None, count_is_public=True, classes=None, folders_are_public=True)).request
    assert (declared.nominal_size, declared.classes) == (173, ("benign", "malign"))
    assert declared.size_is == "the count, declared public"
    stated = resolve(ask()).request
    assert (stated.nominal_size, stated.classes) == (200, CLASSES)


def test_nothing_of_the_request_depends_on_the_images(ask: Make, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", (3, 0, 900), seed=7, side=20)
    ours, theirs = resolve(ask()), resolve(ask(images=other))
    assert ours.request == theirs.request
    assert ours.settings.spec == theirs.settings.spec
    assert (ours.task, ours.delta) == (theirs.task, theirs.delta)


def test_settings_are_those_of_the_dataset_nearest_in_size() -> None:
    lite = catalogue.track("lite")
    assert nearest_dataset(lite, 1, None, 4_700).name == "pneumoniamnist"
    assert nearest_dataset(lite, 1, 28, 60_000).name == "mnist"
    assert nearest_dataset(lite, 3, None, 4_700).name == "eurosat"
    assert nearest_dataset(lite, 3, None, 60_000).name == "cifar10-jpeg75"


def test_size_and_channels_follow_track_and_options(ask: Make) -> None:
    assert resolve(ask()).request.preprocessing.shape == (1, 8, 8)
    assert resolve(ask(track="lite", variant=None)).request.preprocessing.shape == (1, 28, 28)
    assert resolve(ask(track="lite", variant=None, colour=True, side=64)).task.shape == (3, 64, 64)


def test_remarks_are_for_the_owner(ask: Make) -> None:
    request = resolve(ask()).request
    text = " ".join(remarks([900, 12, 0], request))
    assert "Found 912 images" in text and "far from the nominal size 200" in text and "No images of: unclear" in text
    assert len(remarks([100, 90, 20], request)) == 1


@pytest.mark.parametrize("text", ["", "5", "a:b", ":"])
def test_a_window_is_two_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="LOW:HIGH"):
        parse_window(text)
    assert parse_window("-1000:400.5") == (-1000.0, 400.5)


def test_the_command_line_explains_why_the_count_is_private(images: Path, classes: Path, tmp_path: Path) -> None:
    arguments = ["synthesize", "dp-merf", "--images", str(images), "--epsilon", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--classes", str(classes)])
    assert done.exit_code == 2
    assert "How many images there are is private" in done.stderr and "--nominal-size N" in done.stderr
    assert done.stdout == "" and not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*arguments, "--classes", str(classes), "--nominal-size", "9", "--format", "gif"])
    assert done.exit_code == 2 and "png or parquet" in done.stderr


def test_a_private_report_never_lies_in_the_release(images: Path, classes: Path, tmp_path: Path) -> None:
    arguments = ["synthesize", "dp-merf", "--images", str(images), "--epsilon", "1", "--out", str(tmp_path / "out")]
    report = str(tmp_path / "out" / "report.json")
    options = ["--classes", str(classes), "--nominal-size", "200", "--private-report", report]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exit_code == 2 and "must not lie in the release" in done.stderr
    assert not (tmp_path / "out").exists()
