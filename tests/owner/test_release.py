"""A release from folder to certificate, continued, reused, and the same whoever is in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from own_folder import CLASSES, write_images

from dpib import plugins
from dpib.cli.synthesize import _print_certificate
from dpib.data.own import read_own
from dpib.data.readers import read_images
from dpib.errors import ConfigError, PrivacyError, RecordError, RunError, StorageError
from dpib.job import Job
from dpib.metrics.base import EvalInputs
from dpib.owner.certificate import build_certificate, load_certificate
from dpib.owner.expectation import expectations
from dpib.owner.folder import IMAGES, UNFINISHED, ReleaseFolder
from dpib.owner.rehearsal import rehearse
from dpib.owner.release import release
from dpib.owner.report import write_private_report
from dpib.owner.request import Ask, OwnerJob, resolve
from dpib.owner.statement import write_statement
from dpib.privacy.accountants import epsilon
from dpib.privacy.events import EVENT
from dpib.privacy.ledger import Charge
from dpib.privacy.statement import round_up

Make = Callable[..., Ask]
TOY = Path(__file__).parents[1] / "e2e" / "toy.py"


@pytest.fixture
def toy(ask: Make) -> OwnerJob:
    plugins.load_file(TOY)
    return resolve(ask(method="toy", variant=None))


def run(job: OwnerJob) -> None:
    release(job, device="cpu", quiet=True)


def test_from_a_folder_to_images_that_fit_the_task(ask: Make) -> None:
    job = resolve(ask(images_per_person=2))
    outcome = release(job, device="cpu", quiet=True)
    assert not outcome.reused
    images = read_images(job.out / "images", job.task)
    assert torch.bincount(images.labels).tolist() == [10, 10, 10]
    certificate = outcome.certificate
    assert certificate.synthetic.per_class == (10, 10, 10)
    statement = (job.out / "statement.md").read_text()
    assert statement == certificate.statement


def test_parquet_holds_the_same_images(ask: Make) -> None:
    job = resolve(ask(image_format="parquet"))
    certificate = release(job, device="cpu", quiet=True).certificate
    assert read_images(job.out / "images.parquet", job.task).fingerprint == certificate.synthetic.digest


def test_the_certificate_can_be_recomputed_and_says_what_was_promised(
    ask: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    job = resolve(ask(images_per_person=3, title="scans of the clinic"))
    certificate = release(job, device="cpu", quiet=True).certificate
    guarantee = certificate.guarantee
    events = [EVENT.validate_python(dict(event.event)) for event in guarantee.events]
    assert guarantee.epsilon == epsilon(events, guarantee.delta) <= 5
    assert guarantee.second_opinion is not None and guarantee.second_opinion >= guarantee.epsilon
    assert guarantee.delta == job.delta
    assert guarantee.group is not None and guarantee.group.size == 3 and guarantee.group.epsilon > 3 * guarantee.epsilon
    assert certificate.method.config["steps"] == 2 and "variant.tiny" in certificate.method.layers
    assert certificate.environment.packages["pillow"]
    for words in (
        "scans of the clinic",
        f"({round_up(guarantee.epsilon)}, {round_up(guarantee.delta)})-differential privacy",
        "add-or-remove-one",
        "up to 3 images",
        "assumed: every record in every release; performed: the same; 1 of 1 releases made",
        "## Not covered",
        "Nominal size N₀: 200 (stated)",
        "benign, malign, unclear",
        "bicubic resize",
    ):
        assert words in certificate.statement, words
    _print_certificate(certificate, job.out)
    printed = capsys.readouterr().out
    for stated in (guarantee, guarantee.group):
        assert f"ε = {round_up(stated.epsilon)}, δ = {round_up(stated.delta)}" in printed


def test_sampling_is_stated_as_assumed_and_performed(toy: OwnerJob) -> None:
    certificate = release(toy, device="cpu", quiet=True).certificate
    assert any("probability 0.05 (Poisson)" in line and "6 of 6" in line for line in certificate.guarantee.sampling)


def test_a_declared_count_is_said_not_to_be_protected(ask: Make) -> None:
    job = resolve(ask(nominal_size=None, count_is_public=True))
    statement = release(job, device="cpu", quiet=True).certificate.statement
    assert "173 (the count, declared public). The count is therefore not protected" in statement


@pytest.mark.parametrize(
    ("one", "group", "remarks"),
    [
        ((10.0, 9e-4), (19.0, 9e-4), 0),
        ((10.0, 9e-4), (44.0, 9e-4), 1),
        ((10.0, 9e-4), (12.47, 0.104), 1),
        ((10.0, 9e-4), (12.47, 1 / 200), 1),
        ((50.0, 9e-4), (19.0, 9e-4), 1),
        ((0.1, 0.72), (0.3, 1.0), 2),
    ],
)
def test_a_guarantee_without_value_is_called_so(
    ask: Make, one: tuple[float, float], group: tuple[float, float], remarks: int
) -> None:
    job = resolve(ask(images_per_person=3))
    synthetic = read_own(job.images, CLASSES, job.request.preprocessing)
    certificate = build_certificate(job, job.plan("cpu"), [], {}, synthetic, {}, None, "images")
    guarantee = certificate.guarantee
    assert guarantee.group is not None
    weakened = guarantee.model_copy(
        update={
            "epsilon": one[0],
            "delta": one[1],
            "group": guarantee.group.model_copy(update={"epsilon": group[0], "delta": group[1]}),
        }
    )
    statement = write_statement(certificate.model_copy(update={"guarantee": weakened}))
    assert statement.count("**At this size the figures mean no protection worth the name.**") == remarks


def test_the_certificate_is_the_same_whoever_is_in_the_collection(ask: Make, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", (4, 0, 71), seed=3, side=11)
    certificates = []
    for name, images in (("one", None), ("two", other)):
        changes = {"out": tmp_path / name} | ({"images": images} if images else {})
        certificates.append(release(resolve(ask(**changes)), device="cpu", quiet=True).certificate.model_dump())
    for certificate in certificates:
        del certificate["id"], certificate["synthetic"]["digest"]
    assert certificates[0] == certificates[1]


def test_a_complete_release_is_not_repeated(ask: Make) -> None:
    first = release(resolve(ask()), device="cpu", quiet=True)
    again = release(resolve(ask()), device="cpu", quiet=True)
    assert again.reused and again.certificate == first.certificate
    with pytest.raises(ConfigError, match="holds another release"):
        run(resolve(ask(epsilon=4.0)))


def test_other_files_are_never_mixed_with_a_release(ask: Make) -> None:
    job = resolve(ask())
    job.out.mkdir()
    (job.out / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        run(job)
    assert [entry.name for entry in job.out.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(ask: Make) -> None:
    job = resolve(ask())
    job.out.write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        run(job)
    assert job.out.read_text() == "mine"


def _in_child(job: OwnerJob, kill_at: int | None) -> bool:
    """Release in a forked child that kills itself after its n-th fsync; True if it ended well."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        real, calls = os.fsync, iter(range(10**9))

        def fsync(handle: int) -> None:
            real(handle)
            if next(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = fsync
        code = 1
        try:
            import dpib.context

            dpib.context.CHECKPOINT_EVERY_SECONDS = 0.0
            run(job)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed instead of being killed or finishing"
    return not os.WIFSIGNALED(status)


def test_killed_at_any_durable_write_the_same_command_completes(toy: OwnerJob) -> None:
    torch.set_num_threads(1)
    moments, out = 0, toy.out
    for moments in range(100):  # one folder; each process survives a few more writes than the one before
        if _in_child(toy, moments):
            break
        assert not (out / "certificate.json").exists()
    assert moments > 5
    certificate = load_certificate(out / "certificate.json")
    assert sorted(event.label for event in certificate.guarantee.events) == ["class sums", "train"]
    assert 0.98 * 5 <= certificate.guarantee.epsilon <= 5
    assert not (out / UNFINISHED).exists()


def _staged(job: OwnerJob, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Release up to the moment before anything is moved out."""
    with monkeypatch.context() as patch:
        patch.setattr(ReleaseFolder, "publish", lambda self: None)
        patch.setattr(ReleaseFolder, "clean", lambda self: None)
        with pytest.raises(AssertionError):
            run(job)
    return job.out / UNFINISHED / "release"


def test_a_release_killed_while_it_is_moved_out_is_completed(toy: OwnerJob, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = _staged(toy, monkeypatch)
    (staged / "images").replace(toy.out / "images")
    run(toy)
    assert {entry.name for entry in toy.out.iterdir()} == {"images", "grid.png", "statement.md", "certificate.json"}


@pytest.mark.parametrize("image_format", ["png", "parquet"])
@pytest.mark.parametrize("moved", [False, True], ids=["staged", "moved out"])
def test_images_that_a_power_cut_emptied_are_made_again(
    ask: Make, monkeypatch: pytest.MonkeyPatch, image_format: str, moved: bool
) -> None:
    job = resolve(ask(image_format=image_format, classes=None, folders_are_public=True))
    staged = _staged(job, monkeypatch)
    images = staged / IMAGES[image_format]
    if moved:
        images = images.replace(job.out / images.name)
    victim = images if images.is_file() else images / "malign" / "000003.png"
    victim.write_bytes(b"")
    certificate = release(job, device="cpu", quiet=True).certificate
    data = read_images(job.out / images.name, job.task)
    assert torch.bincount(data.labels).tolist() == list(certificate.synthetic.per_class)
    assert not (job.out / UNFINISHED).exists()


@pytest.mark.parametrize("image_format", ["png", "parquet"])
@pytest.mark.parametrize("names", ["zebra\napple\nmole\n", "2\n0\n1\n"], ids=["names", "numbers"])
def test_whole_images_are_not_made_again(
    ask: Make, classes: Path, images: Path, monkeypatch: pytest.MonkeyPatch, image_format: str, names: str
) -> None:
    """Whatever order their classes are read in."""
    classes.write_text(names)
    for folder, name in zip(sorted(images.iterdir()), names.split(), strict=False):
        folder.rename(images / name)
    job = resolve(ask(image_format=image_format, n_images=31))
    _staged(job, monkeypatch)
    monkeypatch.setattr(ReleaseFolder, "stage", lambda *_: pytest.fail("made again"))
    run(job)


def test_the_certificate_is_written_once_the_images_are_on_the_disk(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = resolve(ask())
    staged = job.out / UNFINISHED / "release"
    written: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        os, "sync", lambda: written.append((len(list(staged.rglob("*.png"))), (staged / "certificate.json").exists()))
    )
    run(job)
    assert written == [(31, False)], "30 images and the grid"


def _interrupted(job: OwnerJob) -> None:
    assert not _in_child(job, 12)
    assert (job.out / UNFINISHED / "ledger.jsonl").exists()


def test_changed_images_are_not_released_under_old_noise(toy: OwnerJob, images: Path) -> None:
    _interrupted(toy)
    victim = images / "benign" / "kowalczyk-0-0.png"
    victim.unlink()
    with pytest.raises(ConfigError, match="images, own or public, changed"):
        run(toy)


def test_changed_public_images_are_not_learnt_from_under_old_noise(
    toy: OwnerJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(toy)
    monkeypatch.setattr(Job, "public_data", lambda *_: {"omniglot-28": "another fingerprint"})
    with pytest.raises(ConfigError, match="images, own or public, changed"):
        run(toy)


def test_a_lost_ledger_or_another_request_is_refused(toy: OwnerJob, ask: Make) -> None:
    _interrupted(toy)
    with pytest.raises(ConfigError, match=r"other conditions \(n_images"):
        run(resolve(ask(method="toy", variant=None, n_images=31)))
    with pytest.raises(ConfigError, match=r"other conditions \(spec"):
        run(resolve(ask(method="toy", variant=None, epsilon=50.0)))
    (toy.out / UNFINISHED / "ledger.jsonl").unlink()
    with pytest.raises(RunError, match=r"ledger\.jsonl is missing"):
        run(toy)


def test_two_processes_do_not_share_a_folder(toy: OwnerJob) -> None:
    with ReleaseFolder(toy.out).open(), pytest.raises(StorageError, match="Another process"):
        run(toy)


@pytest.mark.parametrize("cleaned", [True, False], ids=["cleaned", "about to be cleaned"])
def test_a_release_that_another_process_completes_meanwhile_is_reused(
    ask: Make, monkeypatch: pytest.MonkeyPatch, cleaned: bool
) -> None:
    """The second process looked before the first had moved everything out; it must not spend anew."""
    job = resolve(ask(image_format="parquet"))
    hold = ReleaseFolder.open

    def overtaken(self: ReleaseFolder) -> AbstractContextManager[None]:
        with monkeypatch.context() as patch:
            patch.setattr(ReleaseFolder, "open", hold)
            if not cleaned:
                patch.setattr(ReleaseFolder, "clean", lambda self: None)
            run(job)
        return hold(self)

    monkeypatch.setattr(ReleaseFolder, "open", overtaken)
    outcome = release(job, device="cpu", quiet=True)
    assert outcome.reused
    assert read_images(job.out / "images.parquet", job.task).fingerprint == outcome.certificate.synthetic.digest
    assert not (job.out / UNFINISHED).exists()


def test_an_edited_certificate_is_refused(ask: Make) -> None:
    job = resolve(ask())
    run(job)
    path = job.out / "certificate.json"
    content = json.loads(path.read_text())
    content["guarantee"]["epsilon"] = 0.1
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="was edited"):
        load_certificate(path)


@pytest.mark.parametrize(("noise_multiplier", "executed"), [(0.2, 1), (9.0, 2)], ids=["too little noise", "overrun"])
def test_a_ledger_beyond_the_promise_gets_no_certificate(ask: Make, noise_multiplier: float, executed: int) -> None:
    job = resolve(ask())
    event = {"kind": "sampled-gaussian", "noise_multiplier": noise_multiplier}
    charge = Charge.from_plain({"id": "train-0001", "side": "train", "label": "x", "event": event})
    synthetic = read_own(job.images, CLASSES, job.request.preprocessing)
    with pytest.raises(PrivacyError, match="does not bear"):
        build_certificate(job, job.plan("cpu"), [charge], {"train-0001": executed}, synthetic, {}, None, "images")


@pytest.mark.parametrize("method", ["dp-merf", "dp-means", "toy"])
def test_a_rehearsal_foretells_the_accesses_without_images(ask: Make, tmp_path: Path, method: str) -> None:
    plugins.load_file(TOY)
    job = resolve(ask(method=method, variant=None, out=tmp_path / method))
    foretold = [(charge.label, charge.event) for charge in rehearse(job)]
    shutil.rmtree(job.images)
    assert [(charge.label, charge.event) for charge in rehearse(job)] == foretold, "it looks at the images"
    write_images(job.images, (9, 5, 2))
    certificate = release(job, device="cpu", quiet=True).certificate
    assert [(e.label, EVENT.validate_python(dict(e.event))) for e in certificate.guarantee.events] == foretold


def test_expectations_come_from_the_nearest_public_runs(
    ask: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the public runs are the checkout's, wherever the owner is
    job = resolve(ask(track="lite", variant=None, epsilon=8.0, nominal_size=60_000))
    found = expectations(job, limit=2)
    assert [one.epsilon for one in found] == [10.0, 10.0]
    assert {one.dataset for one in found} == {"mnist", "fashion-mnist"}, "of 55,000 images; others are smaller"
    for one in found:
        assert one.trivial is not None and one.ceiling is not None
        assert one.trivial < one.accuracy < one.ceiling
        assert 0 < one.minutes < 60
    assert expectations(resolve(ask())) == (), "no public run of another track is passed off as one of this"


def test_the_private_report_counts_and_scores(ask: Make, tmp_path: Path) -> None:
    job = resolve(ask())
    certificate = release(job, device="cpu", quiet=True).certificate
    path = tmp_path / "report.json"
    write_private_report(job, certificate, path, device="cpu", quiet=True)
    report = json.loads(path.read_text())
    assert report["per_class"] == {"benign": 61, "malign": 112, "unclear": 0}
    assert any(score["metric"] == "accuracy" and score["value"] is not None for score in report["scores"])
    assert not (job.out / UNFINISHED).exists()
    with pytest.raises(ConfigError, match="must not lie"):
        write_private_report(job, certificate, job.out / "r.json", device="cpu", quiet=True)
    (job.out / "link.json").symlink_to(path)
    with pytest.raises(ConfigError, match="must not lie"):
        write_private_report(job, certificate, job.out / "link.json", device="cpu", quiet=True)


def test_features_of_the_images_are_never_in_the_release(
    ask: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private report that is killed leaves them beside itself, for its owner's eyes."""
    job = resolve(ask())
    certificate = release(job, device="cpu", quiet=True).certificate
    before = sorted(job.out.rglob("*"))
    caches: list[Path] = []

    def look(inputs: EvalInputs) -> tuple[()]:
        caches.append(inputs.cache)
        assert stat.S_IMODE(inputs.cache.stat().st_mode) == 0o700 and not any(inputs.cache.iterdir())
        assert sorted(job.out.rglob("*")) == before
        return ()

    monkeypatch.setattr("dpib.owner.report.evaluate", look)
    write_private_report(job, certificate, tmp_path / "kept" / "report.json", device="cpu", quiet=True)
    assert [cache.parent for cache in caches] == [tmp_path / "kept"]
    assert [entry.name for entry in (tmp_path / "kept").iterdir()] == ["report.json"]
