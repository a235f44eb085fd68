"""Own images as a dataset: a card, sides by file name, and a benchmark that accepts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dpib import own_cards, plugins
from dpib.cli.main import app
from dpib.data.load import load_public, load_splits
from dpib.data.splits import salted_hash, split_by_name
from dpib.dataset_spec import DatasetSpec
from dpib.errors import ConfigError
from dpib.job import make_spec, prepare

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for cards; the registry is read anew before and after."""
    monkeypatch.setenv(own_cards.ENVIRONMENT, str(tmp_path / "cards"))
    plugins.registry.cache_clear()
    yield tmp_path / "cards"
    plugins.registry.cache_clear()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """60 grey images of two classes and several sizes."""
    for name, level in (("cat", 60), ("dog", 180)):
        (tmp_path / "My Photos" / name).mkdir(parents=True)
        for n in range(30):
            pixels = RNG.normal(level, 20, (10 + n % 3, 12)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "My Photos" / name / f"{name}{n}.png")
    return tmp_path / "My Photos"


def dpib(*arguments: str | Path) -> tuple[int, str, str]:
    plugins.registry.cache_clear()
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


ADD = ("--count-is-public", "--size", "8", "--shares", "60,20,20")


def test_a_folder_becomes_a_dataset_that_is_listed_checked_and_loaded(photos: Path) -> None:
    code, out, err = dpib("datasets", "add", photos, *ADD, "--json")
    assert code == 0, err
    assert "dpib synthesize" in err
    card = DatasetSpec.model_validate_json(out)
    assert (card.name, card.shape, card.classes) == ("my-photos", (1, 8, 8), ("cat", "dog"))
    assert card.split.sizes == {"train": 36, "validation": 12, "test": 12}
    assert card.verified
    assert "my-photos" in dpib("datasets")[1]
    code, out, _ = dpib("datasets", "my-photos", "--check", "--json")
    found = json.loads(out)
    assert (code, found["present"], found["fingerprint"]) == (0, True, "matches")
    assert found["bytes"] == sum(file.stat().st_size for file in photos.rglob("*.png"))

    next(photos.rglob("cat*.png")).unlink()
    code, _, err = dpib("datasets", "my-photos", "--check")
    assert code == 3
    assert "expected fingerprint" in err


def test_it_runs_under_the_rules_of_a_track(photos: Path, tmp_path: Path) -> None:
    dpib("datasets", "add", photos, "--name", "own", *ADD)
    run = ("run", "dp-means", "--dataset", "own", "--epsilon", "10", "--track", "demo", "--runs", tmp_path, "--quiet")
    code, out, err = dpib(*run, "--json")
    assert code == 0, err
    assert json.loads(out)["task"]["nominal_size"] == 36


def test_a_strangers_dataset_is_still_refused_by_a_track() -> None:
    code, _, err = dpib("run", "dp-means", "--dataset", "mnist", "--epsilon", "10", "--track", "demo")
    assert code == 2
    assert "not mnist" in err


def test_own_public_images_may_be_pretrained_on_and_never_take_the_sensitive_place(photos: Path) -> None:
    dpib("datasets", "add", photos, "--name", "own", *ADD)
    dpib("datasets", "add", photos, "--name", "mine", "--public")
    plugins.registry.cache_clear()
    job = prepare(make_spec("dp-merf", "own", 10.0, "demo", public="mine"))
    assert job.public is not None
    assert load_public(job.public).data.images.shape == (60, 1, 32, 32)
    with pytest.raises(ConfigError, match="sensitive"):
        load_public(job.dataset)
    with pytest.raises(ConfigError, match="public"):
        load_splits(job.public)


def test_public_images_are_one_side(photos: Path) -> None:
    code, out, err = dpib("datasets", "add", photos, "--name", "mine", "--public", "--colour", "--json")
    assert code == 0, err
    card = json.loads(out)
    assert (card["role"], card["shape"], card["split"]["sizes"]) == ("public", [3, 32, 32], {"train": 60})
    assert "--public mine" in err


def test_a_side_follows_from_the_file_name_alone(photos: Path) -> None:
    names = [f"{n}.png" for n in range(400)]
    sizes = {"train": 80, "validation": 10, "test": 10}
    sides = split_by_name("own", names, 100, sizes)
    assert sorted(row for rows in sides.values() for row in rows.tolist()) == list(range(400))
    side_of = {names[row]: side for side, rows in sides.items() for row in rows.tolist()}
    fewer = names[::3]
    for side, rows in split_by_name("own", fewer, 100, sizes).items():
        assert all(side_of[fewer[row]] == side for row in rows.tolist())
    border = 0.8 * 2**64
    assert all((int.from_bytes(salted_hash("own", n)[:8]) < border) == (side_of[n] == "train") for n in names)
    assert 280 < len(sides["train"]) < 360  # 320 expected, standard deviation 8


MISUSE = {
    "no size": ((), "either --nominal-size N, or --count-is-public"),
    "two sizes": (("--nominal-size", "50", "--count-is-public"), "either --nominal-size"),
    "a name of dpib": (("--count-is-public", "--name", "mnist"), "Choose another --name"),
    "a command": (("--count-is-public", "--name", "add"), "Choose another --name"),
    "a bad name": (("--count-is-public", "--name", "No Good"), "name"),
    "shares": (("--count-is-public", "--shares", "80,30,10"), "add up to 100"),
    "no numbers": (("--count-is-public", "--shares", "most"), "--shares 80,10,10"),
    "side": (("--count-is-public", "--size", "2"), "side"),
}


@pytest.mark.parametrize(("options", "message"), MISUSE.values(), ids=MISUSE)
def test_misuse_is_told_before_anything_is_read(options: tuple[str, ...], message: str, photos: Path) -> None:
    (photos / "cat/cat0.png").write_bytes(b"never read")
    code, _, err = dpib("datasets", "add", photos, *options)
    assert code == 2
    assert message in err


def test_bad_folders_are_named(photos: Path, tmp_path: Path) -> None:
    assert dpib("datasets", "add", tmp_path / "nowhere", *ADD)[0] == 3
    (photos / "cat/notes.txt").write_text("x")
    code, _, err = dpib("datasets", "add", photos, *ADD)
    assert (code, "notes.txt" in err) == (3, True)
    (photos / "cat/notes.txt").unlink()
    (photos / "cat/cat3.png").write_bytes(b"not an image")
    code, _, err = dpib("datasets", "add", photos, *ADD)
    assert (code, "cat3.png" in err) == (3, True)


def test_a_name_is_not_taken_twice_by_accident(photos: Path) -> None:
    assert dpib("datasets", "add", photos, *ADD)[0] == 0
    code, _, err = dpib("datasets", "add", photos, *ADD)
    assert (code, "--replace" in err) == (2, True)
    assert dpib("datasets", "add", photos, *ADD, "--replace")[0] == 0


def test_any_name_that_a_dataset_may_have_can_be_asked_for_as_public(photos: Path) -> None:
    assert dpib("datasets", "add", photos, "--name", "my.photos-2", "--public", *ADD[1:3])[0] == 0
    for share in ("", ":5%", ":random-5%", ":5%+random-5%"):
        spec = make_spec("dp-merf", "digits", 10.0, "demo", public=f"my.photos-2{share}")
        assert (spec.public_dataset, spec.public_share) == ("my.photos-2", share[1:] or None)
    with pytest.raises(ConfigError, match="expected a public dataset"):
        make_spec("dp-merf", "digits", 10.0, "demo", public="my.photos-2:5%\n")


def test_a_broken_card_takes_nothing_else_down(cards: Path, caplog: pytest.LogCaptureFixture) -> None:
    cards.mkdir()
    (cards / "broken.json").write_text("{}")
    code, out, _ = dpib("datasets")
    assert code == 0
    assert "mnist" in out
    assert "broken.json" in caplog.text


def test_a_folder_that_went_away_is_said_with_the_way_out(photos: Path) -> None:
    dpib("datasets", "add", photos, *ADD)
    photos.rename(photos.parent / "moved")
    code, out, err = dpib("datasets", "my-photos", "--check", "--json")
    assert code == 3
    assert json.loads(out)["present"] is False
    assert "dpib datasets add FOLDER --name my-photos --replace" in err
