"""Preludes and shares of public data through the real harness: what is charged, kept, shared, recorded and refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.io import write_png
from typer.testing import CliRunner

from dpib import catalogue, plugins, runner
from dpib.cli.main import app
from dpib.data.add import OwnDataset, add_folder
from dpib.data.images import PublicDataset
from dpib.errors import ConfigError, RunError, UnknownName
from dpib.job import Job, make_spec, prepare
from dpib.privacy import accountants
from dpib.privacy.ledger import parse_charges, read_ledger_lines
from dpib.progress import RunEvent
from dpib.query import KEYS, results
from dpib.records import RunRecord
from dpib.runner import run_job
from dpib.spec import ClassifierSpec
from dpib.standings import standings
from dpib.verify import verify
from dpib.workspace import Workspace
from dpib_plugins.dp_merf.method import DpMerf

EPSILON = 5.0
QUERY, CENTRAL = "select-public: semantic query", "central-images: noisy sums"
PER_CLASS, N_CLASSES = 3, 40


@pytest.fixture(scope="module", autouse=True)
def strokes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A public dataset of 40 classes with three 8x8 images each: 5 % is one class for each of ten digits."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DPIB_DATASETS", str(tmp_path_factory.mktemp("cards")))
    folder = tmp_path_factory.mktemp("strokes")
    generator = torch.Generator().manual_seed(1)
    for number in range(N_CLASSES):
        (folder / f"stroke{number:02d}").mkdir()
        for copy in range(PER_CLASS):
            pixels = torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8, generator=generator)
            write_png(pixels, str(folder / f"stroke{number:02d}" / f"{copy}.png"))
    add_folder(folder, OwnDataset(name="strokes", public=True, side=8))
    plugins.registry.cache_clear()  # earlier tests of this process have read the cards already
    yield
    patch.undo()
    plugins.registry.cache_clear()


def _job(method: str = "dp-merf", **axes: Any) -> Job:
    ready = prepare(make_spec(method, "digits", EPSILON, "demo", variant="tiny", **axes))
    classifier = ClassifierSpec(name="small-cnn", epochs=1, batch_size=32, optimizer="adam", learning_rate=1e-3)
    small = {"n_images": 60, "metrics": ("accuracy",), "classifiers": (classifier,)}
    return dataclasses.replace(ready, track=ready.track.model_copy(update=small))


def _labels_charged(job: Job, runs: Path) -> list[str]:
    charges, _ = parse_charges(read_ledger_lines(Workspace(runs, job.spec).ledger_path))
    return [charge.label for charge in charges if charge.side == "train"]


def _spent(record: RunRecord) -> float:
    spent = record.privacy.spent_by_side["train"]
    assert spent is not None
    return spent


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, PublicDataset]:
    """What DP-MERF is given to pretrain on and to warm up on."""
    found: dict[str, PublicDataset] = {}
    monkeypatch.setattr(DpMerf, "pretrain", lambda _, images, __: found.update(pretrain=images))
    monkeypatch.setattr(DpMerf, "warm_up", lambda _, images, __: found.update(warm_up=images))
    return found


@pytest.mark.parametrize(
    ("method", "axes", "expected"),
    [
        ("dp-merf", {"preludes": ("central-images",)}, [CENTRAL, "class embeddings"]),
        ("dp-gan", {"public": "strokes:5%"}, [QUERY, "discriminator"]),
        ("dp-kernel", {"public": "strokes", "preludes": ("select-public",)}, [QUERY, "class embeddings"]),
        ("dp-ntk", {"public": "strokes:5%+random-5%", "preludes": ("central-images",)}, [QUERY, CENTRAL, None]),
    ],
)
def test_queries_are_charged_first_and_the_method_takes_the_rest(
    method: str, axes: dict[str, Any], expected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(method, **axes)
    record = run_job(job, tmp_path, quiet=True)
    labels = _labels_charged(job, tmp_path)
    assert len(labels) == len(expected)
    assert all(wanted in (None, label) for label, wanted in zip(labels, expected, strict=True))
    assert 0.98 * EPSILON <= _spent(record) <= EPSILON
    charges, _ = parse_charges(read_ledger_lines(Workspace(tmp_path, job.spec).ledger_path))
    train = [charge.event for charge in charges if charge.side == "train"]
    assert accountants.epsilon(train, record.privacy.delta) == pytest.approx(_spent(record), rel=1e-6)
    assert tuple(block.name for block in record.method.preludes) == job.spec.all_preludes
    assert all(block.config and block.layers[0] == "default" for block in record.method.preludes)
    known = catalogue.track
    monkeypatch.setattr(catalogue, "track", lambda name: job.track if name == job.track.name else known(name))
    found = verify(Workspace(tmp_path, job.spec).record_path, scores=False)
    assert not [check for check in found.checks if check.holds is False]


def test_a_selection_and_what_is_learnt_from_it_stay_in_the_run(tmp_path: Path) -> None:
    jobs = [_job(public="strokes:5%", seed=seed) for seed in (0, 1)]
    queries = []
    for job in jobs:
        run_job(job, tmp_path, quiet=True)
        state = Workspace(tmp_path, job.spec).state
        assert list((state / "pretrain").iterdir())
        queries.append(torch.load(state / "prelude-select-public" / "semantic-query.pt"))
        assert _labels_charged(job, tmp_path) == [QUERY, "class embeddings"]
    assert not torch.equal(*queries)
    (prepared,) = (tmp_path / ".cache" / "pretrain").iterdir()  # one classifier for both: it saw public images only
    assert [file.name for file in prepared.glob("*.pt")] == ["train-selector.pt"]


def test_a_drawn_share_is_public_and_its_pretraining_shared_by_content(tmp_path: Path) -> None:
    for seed in (0, 1):
        job = _job(public="strokes:random-5%", seed=seed)
        run_job(job, tmp_path, quiet=True)
        assert _labels_charged(job, tmp_path) == ["class embeddings"]
    assert len(list((tmp_path / ".cache" / "pretrain").iterdir())) == 2  # another seed, other classes


def test_a_public_class_without_images_makes_another_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images and their classes are the same; the classifier has one output more."""
    run_job(_job(public="strokes:5%"), tmp_path / "runs", quiet=True)
    card = catalogue.dataset("strokes")
    larger = card.model_copy(update={"classes": (*card.classes, "nothing")})
    known = catalogue.dataset
    monkeypatch.setattr(catalogue, "dataset", lambda name: larger if name == "strokes" else known(name))
    run_job(_job(public="strokes:5%", seed=1), tmp_path / "runs", quiet=True)
    assert len(list((tmp_path / "runs" / ".cache" / "pretrain").iterdir())) == 2


def test_a_damaged_pretraining_is_made_again_once_its_own_folder_is_deleted(tmp_path: Path) -> None:
    run_job(_job(public="strokes"), tmp_path, quiet=True)
    (folder,) = (tmp_path / ".cache" / "pretrain").iterdir()
    for file in folder.glob("*.pt"):
        file.write_bytes(file.read_bytes()[:-100])
    other = _job(public="strokes", seed=1)
    with pytest.raises(
        RunError, match=rf"Cannot read the saved state .*Runs share it: delete {folder}, and the next run"
    ) as caught:
        run_job(other, tmp_path, quiet=True)
    assert "Delete the run folder" not in str(caught.value)
    shutil.rmtree(folder)
    run_job(other, tmp_path, quiet=True)
    assert sorted(file.name for file in folder.glob("*.pt")) == ["pretrain-generator.pt", "public-embedding.pt"]


@pytest.mark.parametrize("pretrain", ["conditional", "unconditional"])
@pytest.mark.parametrize("share", ["5%", "random-5%", "5%+random-5%", None])
def test_shares_are_of_classes_under_the_labels_they_were_taken_for(
    share: str | None, pretrain: str, tmp_path: Path, seen: dict[str, PublicDataset]
) -> None:
    job = _job(public="strokes" + (f":{share}" if share else ""), pretrain=pretrain)
    run_job(job, tmp_path, quiet=True)
    categories, _ = seen["pretrain"].card_classes()
    taken = {"5%": 10, "random-5%": 10, "5%+random-5%": 20, None: N_CLASSES}[share]
    assert len(categories.unique()) == taken
    assert len(categories) == PER_CLASS * taken
    labels = seen["pretrain"].data.labels
    if pretrain == "unconditional":
        assert labels.unique().tolist() == [0]
    else:
        selected = 10 if job.spec.selects else 0
        modulo = categories % 10 == labels
        assert bool(modulo.all()) if not selected else len(labels.unique()) == 10
        assert int(modulo.sum()) >= PER_CLASS * (taken - selected)


def test_a_warm_up_sees_released_images_after_the_public_ones(tmp_path: Path, seen: dict[str, PublicDataset]) -> None:
    run_job(_job(public="strokes", preludes=("central-images",)), tmp_path, quiet=True)
    assert list(seen) == ["pretrain", "warm_up"]
    assert seen["warm_up"].spec is None
    assert len(seen["warm_up"].data) == 10 * 2
    assert len(seen["pretrain"].data) == PER_CLASS * N_CLASSES


@pytest.mark.parametrize("stage", ["train selector", QUERY, "pretrain generator", CENTRAL, "fit generator", "generate"])
def test_stopped_anywhere_the_same_call_pays_for_no_query_twice(stage: str, tmp_path: Path) -> None:
    axes = {"public": "strokes:5%", "preludes": ("central-images",)}
    straight, job = run_job(_job(**axes), tmp_path / "straight", quiet=True), _job(**axes)
    secret = "0" * 16 + "cd" * 32
    for runs in (tmp_path / "expected", tmp_path / "broken"):
        folder = Workspace(runs, job.spec).folder
        folder.mkdir(parents=True)
        (folder / "noise.secret").write_text(secret)

    def stop(event: RunEvent) -> None:
        if event.stage == stage and event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path / "broken", observers=[stop], quiet=True)
    resumed = run_job(job, tmp_path / "broken", quiet=True)
    expected = run_job(job, tmp_path / "expected", quiet=True)
    assert resumed.synthetic.digest == expected.synthetic.digest != straight.synthetic.digest
    assert _labels_charged(job, tmp_path / "broken") == [QUERY, CENTRAL, "class embeddings"]
    assert _spent(resumed) == _spent(expected)


def test_a_run_goes_on_with_the_public_images_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card without fingerprints, as that of ImageNet, lets other images pass for its own."""
    known = catalogue.dataset
    card = known("strokes").model_copy(update={"fingerprints": {}})
    monkeypatch.setattr(catalogue, "dataset", lambda name: card if name == "strokes" else known(name))
    job = _job(public="strokes:5%")

    def stop(event: RunEvent) -> None:
        if event.stage == "pretrain generator" and event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path / "runs", observers=[stop], quiet=True)
    other = tmp_path / "strokes"
    shutil.copytree(card.source.path, other)
    first, *_, last = sorted(other.rglob("*.png"))
    first.write_bytes(last.read_bytes())
    load = runner.load_public
    moved = card.model_copy(update={"source": card.source.model_copy(update={"path": str(other)})})
    with monkeypatch.context() as patch:
        patch.setattr(runner, "load_public", lambda _, *rest: load(moved, *rest))
        with pytest.raises(ConfigError, match="begun with other data"):
            run_job(job, tmp_path / "runs", quiet=True)
    assert run_job(job, tmp_path / "runs", quiet=True).status == "complete"


def test_runs_with_preludes_are_rows_of_their_own(tmp_path: Path) -> None:
    for axes in ({}, {"preludes": ("central-images",)}, {"public": "strokes"}, {"public": "strokes:5%"}):
        run_job(_job(**axes), tmp_path, quiet=True)
    run_job(_job(public="strokes", pretrain="unconditional"), tmp_path, quiet=True)
    frame = results(tmp_path)
    assert len(frame.groupby(list(KEYS))) == len(standings(frame)) == 5
    shown = CliRunner().invoke(app, ["results", "--runs", str(tmp_path)]).output
    assert "dp-merf tiny + central-images" in shown and "+strokes:5%" in shown and "unconditional" in shown


def test_settings_come_from_presets_and_from_set_with_the_name_in_front() -> None:
    job = _job(preludes=("central-images",), overrides={"central-images.kind": "mode", "steps": 3})
    (prelude,) = job.preludes
    assert prelude.resolved.config.model_dump()["kind"] == "mode"
    assert prelude.resolved.layers == ("default", "demo", "variant.tiny")
    assert job.resolved.config.model_dump()["steps"] == 3
    only = prepare(make_spec("dp-merf", "digits", 1.0, "demo", preludes=("central-images",), variant="mode"))
    assert only.preludes[0].resolved.layers[-1] == "variant.mode"
    assert only.resolved.layers == ("default", "demo")


@pytest.mark.parametrize(
    ("method", "axes", "message"),
    [
        ("dp-merf", {"preludes": ("central-imags",)}, "Did you mean 'central-images'"),
        ("dp-means", {"preludes": ("central-images",)}, "Methods that can: .*dp-gan, dp-kernel, .*dp-merf"),
        ("dp-means", {"preludes": ("central-images",)}, r"Methods that can: (?!.*\bpe\b)"),
        ("pe", {"preludes": ("central-images",)}, "not from released ones, so central-images cannot precede it"),
        (
            "pe",
            {"public": "strokes", "variant": "own-diffusion", "preludes": ("central-images",)},
            "not from released ones, so central-images cannot precede it",
        ),
        ("pe", {"public": "strokes"}, "learns nothing from public images. Drop --public"),
        ("pe", {"public": "strokes:5%"}, "learns nothing from public images. Drop --public"),
        ("pe", {"variant": "own-diffusion"}, "add --public DATASET"),
        ("dp-merf", {"preludes": ("select-public",)}, "select-public needs public data"),
        ("dp-merf", {"public": "strokes:5%", "preludes": ("select-public",)}, "drop --prelude select-public"),
        ("dp-merf", {"public": "strokes:random-5%", "preludes": ("select-public",)}, "chooses from all public images"),
        ("dp-merf", {"preludes": ("central-images", "central-images")}, "named twice"),
        ("dp-merf", {"public": "strokes", "pretrain": "none"}, "does not go with --public strokes"),
        ("dp-merf", {"pretrain": "conditional"}, "does not go with --public none"),
        (
            "dp-merf",
            {"preludes": ("central-images",), "overrides": {"central-images.kid": "mode"}},
            "unknown key 'kid'",
        ),
        ("dp-merf", {"preludes": ("central-images",), "overrides": {"kind": "mode"}}, "unknown key 'kind'"),
        ("dp-merf", {"public": "strokes:7%"}, "random-5%"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_runs(
    method: str, axes: dict[str, Any], message: str
) -> None:
    axes = {"variant": "tiny"} | axes if method == "dp-merf" else axes
    with pytest.raises(ConfigError, match=message):
        prepare(make_spec(method, "digits", EPSILON, "demo", **axes))


def test_preludes_are_listed_as_what_they_are() -> None:
    assert [one.card.name for one in catalogue.preludes()] == ["central-images", "select-public"]
    with pytest.raises(UnknownName) as caught:
        catalogue.prelude("dp-merfs")
    assert caught.value.known == ["central-images", "select-public"]
    with pytest.raises(UnknownName) as caught:
        catalogue.method("select-publik")
    assert "select-public" not in caught.value.known


def test_a_budget_that_the_queries_exceed_is_refused_before_any_pretraining() -> None:
    with pytest.raises(ConfigError, match=r"central_noise_multiplier cost ε = 0\.2107 .*--set central_noise"):
        prepare(make_spec("dp-feta", "mnist", 0.2, "lite", public="omniglot-28"))
    with pytest.raises(ConfigError, match=r"--set central-images\.central_noise_multiplier"):
        prepare(make_spec("dpdm", "mnist", 0.2, "lite", preludes=["central-images"]))
    prepare(make_spec("dp-feta", "mnist", 0.2, "lite", overrides={"central_noise_multiplier": 10.0}))
    prepare(make_spec("real", "mnist", 0.2, "lite"))
