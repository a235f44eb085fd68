"""What the review finds only by computing: copies, repetitions, wrong ε, inflated scores, replays, stale records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from making import Make, changed

from dpib import catalogue
from dpib.data.imagefile import load_parquet, save_grid, save_parquet
from dpib.data.images import LabelledImages
from dpib.data.load import load_splits
from dpib.data.splits import SIDES
from dpib.metrics.copies import neighbour_test
from dpib.records import PreludeBlock, RunRecord
from dpib.spec import Track
from dpib_leaderboard import copies, history, recompute, rows
from dpib_leaderboard.entries import Entry
from dpib_leaderboard.review import examine, invalidate
from dpib_leaderboard.reviews import Check, Review, load_review
from dpib_leaderboard.rules import place_of

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def images(run_folder: Path) -> LabelledImages:
    return load_parquet(run_folder / "images.parquet", (1, 8, 8), 10)


@pytest.fixture(scope="module")
def splits() -> Any:
    return load_splits(catalogue.dataset("digits"))


WithImages = Callable[[LabelledImages], Path]


@pytest.fixture
def with_images(make: Make) -> WithImages:
    """Make a submission of other images, consistent in everything else."""

    def _make(data: LabelledImages) -> Path:
        counts = torch.bincount(data.labels, minlength=10).tolist()
        folder = make(lambda plain: plain["synthetic"].update(digest=data.fingerprint, per_class=counts))
        save_parquet(folder / "images.parquet", data, CLASSES)
        save_grid(folder / "grid.png", data, 10)
        return folder

    return _make


def review_of(folder: Path, known: list[Entry] | None = None, scores: bool = False) -> Review:
    review = examine(folder, known or [], scores=scores)[1]
    assert review is not None
    return review


def balanced(real: LabelledImages, synthetic: LabelledImages, per_class: int) -> LabelledImages:
    """Replace the first images of each class of a synthetic set by real ones of that class."""
    images = synthetic.images.clone()
    for label in range(10):
        source = real.images[real.labels == label][:per_class]
        target = torch.nonzero(synthetic.labels == label)[: len(source), 0]
        images[target] = source
    return LabelledImages(images, synthetic.labels)


@pytest.mark.usefixtures("in_process")
def test_an_honest_submission_passes(make: Make) -> None:
    review = review_of(make())
    assert review.accepted, review.reasons
    assert review.trust_level == 0
    assert review.diversity is not None and review.diversity.unique_share == 1.0
    assert review.spent_epsilon == pytest.approx(10.0, rel=1e-3)
    assert review.second_opinion is not None and review.statement.startswith("Protected")


def test_t01_submitted_scores_are_never_the_stored_ones(make: Make) -> None:
    """The whole review, in its own process: slightly inflated scores are replaced, the difference is recorded."""

    def inflate(plain: dict[str, Any]) -> None:
        for score in plain["scores"]:
            score["value"] = min(score["value"] + 0.5, 100.0) if score["metric"] == "accuracy" else score["value"]

    folder = make(inflate)
    inspection, review = examine(folder, [])
    assert review is not None and review.accepted, review and review.reasons
    assert review.trust_level == 1
    record = inspection.record
    assert record is not None
    key = ("accuracy", "noisy-senv")
    submitted, stored = record.score(*key), Entry(folder, record, review).shown.score(*key)
    assert submitted and stored and submitted.value and stored.value
    assert submitted.value - stored.value == pytest.approx(0.5)
    assert any(d.submitted == submitted.value and d.recomputed == stored.value for d in review.differences)
    assert rows.row(Entry(folder, record, review))["accuracy[noisy-senv]"] == stored.value
    assert rows.row(Entry(folder, record)).get("accuracy[noisy-senv]") is None


def fake(monkeypatch: pytest.MonkeyPatch, record: RunRecord) -> None:
    """Let the recomputation answer with the scores of the honest run."""
    answer = recompute.Recomputed(checks=(Check(name="stub", holds=True),), scores=record.scores)
    monkeypatch.setattr("dpib_leaderboard.review.recompute", lambda *args, **options: answer)


def test_t01_inflated_scores_are_refused_and_the_mismatch_recorded(
    make: Make, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, record)
    folder = make(lambda plain: plain["scores"][0].update(value=99.9))
    review = review_of(folder, scores=True)
    assert not review.accepted
    assert "99.9 submitted" in " ".join(review.reasons)
    assert [d.submitted for d in review.differences if not d.agrees] == [99.9]
    assert Entry(folder, record, review).shown.scores == ()


def test_t01_a_left_out_or_invented_score_is_refused(
    make: Make, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, record)
    assert not review_of(make(lambda plain: plain["scores"].pop()), scores=True).accepted
    extra = {"metric": "beauty", "value": 1.0, "higher_is_better": True}
    assert not review_of(make(lambda plain: plain["scores"].append(extra)), scores=True).accepted


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_t02_t03_copied_real_images_are_refused(
    side: str, splits: Any, images: LabelledImages, with_images: WithImages
) -> None:
    """Five images among a thousand suffice, of the training, validation or test side."""
    copied = balanced(getattr(splits, side), images, 1)
    review = review_of(with_images(copied))
    assert not review.accepted
    assert f"{side}: 10 exact" in " ".join(review.reasons)


@pytest.mark.usefixtures("in_process")
def test_t03_five_slightly_changed_training_images_are_refused(
    splits: Any, images: LabelledImages, with_images: WithImages
) -> None:
    pixels = images.images.clone()
    chosen = splits.train.images[:5].int()
    noise = torch.randint(-3, 4, chosen.shape, generator=torch.Generator().manual_seed(0))
    pixels[:5] = (chosen + noise).clamp(0, 255).to(torch.uint8)
    review = review_of(with_images(LabelledImages(pixels, images.labels)))
    assert "no copies" in " ".join(review.reasons)
    assert review.diversity is not None and review.diversity.copies["train"] == 5


def train_and_held_out(splits: Any) -> tuple[torch.Tensor, torch.Tensor]:
    train, validation, test = (getattr(splits, side).images.flatten(1).float() for side in SIDES)
    return train, torch.cat([validation, test])


@pytest.mark.parametrize(("side", "above"), [("train", True), ("test", False)])
def test_t02_t03_images_that_follow_one_side_are_flagged(side: str, above: bool, splits: Any) -> None:
    """Blurred beyond near copies: the neighbours tell which side they were made from."""
    source = getattr(splits, side).images[:1000].float()
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(1)) * 25
    found = neighbour_test((source + noise).clamp(0, 255).flatten(1), *train_and_held_out(splits))
    assert found.n_distinct > 100
    assert (found.in_train > 0.5) is above
    assert (found.distance_train < found.distance_held_out) is above
    assert found.p_value < copies.SIGNIFICANCE


def test_t03_honest_methods_are_not_flagged(splits: Any, images: LabelledImages) -> None:
    noise = torch.rand(1000, 64, generator=torch.Generator().manual_seed(0)) * 255
    for queries in (images.images.flatten(1).float(), noise):
        assert neighbour_test(queries, *train_and_held_out(splits)).p_value > 0.01


@pytest.mark.usefixtures("in_process")
def test_t25_few_images_repeated_are_refused(images: LabelledImages, with_images: WithImages) -> None:
    """Ten good images a hundred times each: the number of distinct ones is shown, the floor refuses."""
    first = [int(torch.nonzero(images.labels == label)[0]) for label in range(10)]
    review = review_of(with_images(LabelledImages(images.images[first][images.labels], images.labels)))
    assert not review.accepted
    assert "10 of 1000 differ" in " ".join(review.reasons)
    assert review.diversity is not None and review.diversity.unique_images == 10


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("what", ["pixels", "labels", "grid"])
def test_images_labels_and_grid_are_those_of_the_record(what: str, make: Make, images: LabelledImages) -> None:
    folder = make()
    pixels, labels = images.images.clone(), images.labels.clone()
    if what == "pixels":
        pixels[0, 0, 0, 0] ^= 1
    if what == "labels":
        labels = labels.roll(1)
    other = LabelledImages(pixels, labels)
    if what == "grid":
        save_grid(folder / "grid.png", LabelledImages(255 - pixels, labels), 10)
    else:
        save_parquet(folder / "images.parquet", other, CLASSES)
    reasons = " ".join(review_of(folder).reasons)
    assert ("grid shows" if what == "grid" else "images unchanged") in reasons


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("factor", [0.2, 0.5, 0.9])
def test_t23_a_ledger_with_less_noise_than_claimed_is_refused(factor: float, make: Make, run_folder: Path) -> None:
    """The record repeats its ledger, both claim ε = 10; the accountants say more."""
    lines = [json.loads(line) for line in (run_folder / "ledger.jsonl").read_text().splitlines()]
    charge = next(line for line in lines if line["type"] == "charge")
    charge["event"]["noise_multiplier"] *= factor
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    event = {"noise_multiplier": charge["event"]["noise_multiplier"]}
    folder = make(lambda plain: plain["privacy"]["events"][0]["event"].update(event), ledger=content)
    reasons = " ".join(review_of(folder).reasons)
    assert "ε by PLD" in reasons or "within budget" in reasons


@pytest.mark.usefixtures("in_process")
def test_t16_events_of_the_record_are_those_of_the_ledger(make: Make) -> None:
    assert "ledger is the record's" in " ".join(review_of(make(lambda p: p["privacy"].update(events=[]))).reasons)


BADGES: dict[str, tuple[Any, str]] = {
    "float_safe": (True, "as the harness writes it: float_safe"),
    "accountant": ("dp-accounting 0.6.0 PLD, verified by NIST", "as the harness writes it: accountant"),
    "second_accountant": ("none needed", "as the harness writes it: second_accountant"),
    "noise_source": ("a certified hardware generator", "as the harness writes it: noise_source"),
    "label_shares": ("private", "as the harness writes it: label_shares"),
    "unit": ("one person", "as the harness writes it: unit"),
    "tuning": ("accounted", "as the harness writes it: tuning"),
    "assurance": ("no-access", "assurance: no-access, the ledger says mechanism"),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", BADGES)
def test_badges_are_what_the_charges_and_the_harness_say(name: str, make: Make) -> None:
    value, reason = BADGES[name]
    assert reason in review_of(make(lambda plain: plain["privacy"].update({name: value}))).reasons


def test_t22_t23_a_cell_never_mixes_budgets(record: RunRecord) -> None:
    other = changed(record, lambda plain: (plain["task"]["spec"].update(epsilon=10.02),))
    frame = rows.table([Entry(Path("a"), record), Entry(Path("b"), other)])
    assert sorted(frame["epsilon"]) == [10.0, 10.02]


def stored(record: RunRecord, accepted: bool = True) -> Entry:
    check = (Check(name="x", holds=accepted),)
    base = {"record": record.id, "reviewed": "2999-01-01", "reviewer": "", "attempts": 1, "checks": check}
    review = Review(accepted=accepted, trust_level=1, scores=record.scores, **base)
    return Entry(Path(place_of(record)), record, review)


def seeded(record: RunRecord, seed: int, **more: Any) -> RunRecord:
    """A record of another seed with images and a ledger of its own."""

    def change(plain: dict[str, Any]) -> None:
        plain["task"]["spec"]["seed"] = seed
        plain["synthetic"]["digest"] = f"{seed:064x}"
        plain["privacy"]["ledger_digest"] = f"{seed + 1:064x}"
        plain["who"]["account"] = "alice"
        plain.update(more)

    return changed(record, change)


REPLAYS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "same": (lambda plain: None, "in the store already"),
    "same images": (lambda plain: plain["task"]["spec"].update(seed=9), "images are those"),
    "same ledger": (
        lambda plain: (plain["task"]["spec"].update(seed=9), plain["synthetic"].update(digest="1" * 64)),
        "ledger is that",
    ),
    "same run": (
        lambda plain: (
            plain["synthetic"].update(digest="1" * 64),
            plain["privacy"].update(ledger_digest="2" * 64),
        ),
        "same code, data, seed and rules",
    ),
    "unknown successor": (lambda plain: plain.update(supersedes="3" * 64), "not in the store"),
}


@pytest.mark.parametrize("case", REPLAYS)
def test_t21_replays_and_duplicates_are_refused(case: str, record: RunRecord) -> None:
    change, reason = REPLAYS[case]
    problems = [c.detail for c in history.history_checks(changed(record, change), [stored(record)]) if not c.holds]
    assert reason in " ".join(problems)


@pytest.mark.parametrize("reference", [True, False])
def test_t21_only_a_reference_may_show_the_same_images_at_another_epsilon(reference: bool, record: RunRecord) -> None:
    def change(plain: dict[str, Any]) -> None:
        plain["task"]["spec"]["epsilon"] = 2 * record.task.spec.epsilon
        plain["privacy"]["ledger_digest"] = "1" * 64
        plain["method"]["reference"] = reference

    checks = {c.name: c.holds for c in history.history_checks(changed(record, change), [stored(record)])}
    assert checks["not sent before"] is reference


def test_t21_a_record_is_superseded_once_and_by_its_owner(record: RunRecord) -> None:
    first = seeded(record, 1)
    second = seeded(record, 1, supersedes=first.id)
    assert all(check.holds for check in history.history_checks(second, [stored(first)]))
    third = seeded(record, 1, supersedes=first.id, created="2026-01-01T00:00:00+00:00")
    assert "superseded already" in str(history.history_checks(third, [stored(first), stored(second)]))
    stolen = changed(second, lambda plain: plain["who"].update(account="bob"))
    assert "another account" in str(history.history_checks(stolen, [stored(first)]))
    frame = rows.table([stored(first), stored(second)])
    assert list(frame.loc[frame["id"] == first.id, "superseded_by"]) == [second.id]


def test_t21_a_correction_can_be_corrected(record: RunRecord) -> None:
    """Also with images and ledger of the first record, and each of the three can be reviewed again."""
    first = seeded(record, 1)
    second = seeded(record, 1, supersedes=first.id)
    third = seeded(record, 1, supersedes=second.id)
    for one, others in ((third, (first, second)), (second, (first, third)), (first, (second, third))):
        assert problems(one, [stored(other) for other in others]) == []
    again = seeded(record, 1, supersedes=first.id, created="2026-01-01T00:00:00+00:00")
    said = f"superseded already, by {second.id[:16]}; name that one"
    assert said in str(problems(again, [stored(first), stored(second), stored(third)]))


def test_t21_a_refused_correction_is_none(record: RunRecord) -> None:
    first = seeded(record, 1)
    refused = seeded(record, 1, supersedes=first.id)
    again = seeded(record, 1, supersedes=first.id, created="2026-01-01T00:00:00+00:00")
    assert problems(again, [stored(first), stored(refused, accepted=False)]) == []


def test_t21_a_new_version_of_the_rules_marks_rows_stale(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history.stale_reason(record) is None
    old = catalogue.track("demo-v1")
    new = old.model_copy(update={"name": "demo-v2"})
    track: Callable[[str], Track] = lambda name: new if name in ("demo", "demo-v2") else old  # noqa: E731
    monkeypatch.setattr(catalogue, "track", track)
    assert rows.row(stored(record))["stale"] == "demo-v1 is superseded by demo-v2"


def test_t04_every_attempt_is_stored_and_counted(record: RunRecord) -> None:
    five = [stored(seeded(record, seed)) for seed in range(1, 6)]
    assert len(rows.table(five)) == 5
    assert history.attempts_of(seeded(record, 6), five) == 6
    assert history.attempts_of(changed(record, lambda p: p["privacy"].update(attempts=40)), five) == 40


def test_t14_a_name_belongs_to_its_package(record: RunRecord) -> None:
    for update, reason in (
        ({"distribution": "mine"}, "belongs to the package dpib"),
        ({"name": "dp-rneans", "distribution": "mine", "title": "New"}, "easily taken for 'dp-means'"),
        ({"name": "other", "distribution": "mine", "title": "N0isy class means"}, "title"),
    ):
        forged = changed(record, lambda plain, update=update: plain["method"].update(update))  # type: ignore[misc]
        assert reason in str(history.history_checks(forged, []))


def problems(record: RunRecord, known: list[Entry]) -> list[str]:
    return [f"{c.name}: {c.detail}" for c in history.history_checks(record, known) if c.holds is False]


def of(record: RunRecord, account: str | None, **method: Any) -> RunRecord:
    return changed(record, lambda plain: (plain["who"].update(account=account), plain["method"].update(method)))


def test_t14_a_method_is_of_the_account_that_sent_it_first(record: RunRecord) -> None:
    own = {"name": "mine", "title": "Mine", "distribution": "dpib-plugin-mine"}
    first = stored(of(seeded(record, 1), "alice", **own))
    assert problems(of(seeded(record, 2), "alice", **own), [first]) == []
    assert problems(of(seeded(record, 2), "bob", **own), [first]) == ["same account: the name 'mine' belongs to alice"]
    assert problems(of(seeded(record, 2), "bob", **own), [stored(first.record, accepted=False)]) == []
    ours = stored(of(seeded(record, 1), None))
    assert problems(of(seeded(record, 2), "bob"), [ours]) == []  # a method of dpib
    (undecided,) = (c for c in history.history_checks(of(seeded(record, 2), None, **own), [first]) if not c.holds)
    assert undecided.holds is None and "not signed by an account" in undecided.detail


def test_t14_a_changed_method_of_dpib_needs_another_name(record: RunRecord) -> None:
    forged = of(seeded(record, 2), "bob", source_digest="1" * 64)
    reason = ["code: the code is not that of dpib's dp-means; give your variant a name of its own"]
    assert problems(forged, []) == problems(forged, [stored(seeded(record, 1))]) == reason
    earlier_version = of(seeded(record, 1), None, source_digest="1" * 64)
    assert problems(forged, [stored(earlier_version)]) == []
    assert problems(forged, [stored(earlier_version, accepted=False)]) == reason
    assert "dpib's newest" in str(problems(of(forged, "bob", name="newest", title="Newest"), []))
    (undecided,) = (c for c in history.history_checks(earlier_version, []) if not c.holds)
    assert undecided.holds is None


def test_t14_a_changed_prelude_of_dpib_is_refused_too(record: RunRecord) -> None:
    def with_prelude(digest: str, distribution: str = "dpib", seed: int = 2) -> RunRecord:
        block = PreludeBlock(
            name="central-images",
            distribution=distribution,
            version="1",
            source_digest=digest,
            config={},
            layers=(),
            changed=(),
        )
        return of(seeded(record, seed), "bob", preludes=[block.model_dump(mode="json")])

    honest = with_prelude(catalogue.prelude("central-images").source_digest, seed=1)
    forged, foreign = with_prelude("1" * 64), with_prelude("1" * 64, "dpib-prelude-of-mine")
    reason = "code: the code is not that of dpib's central-images; give your variant a name of its own"
    assert problems(forged, []) == problems(forged, [stored(honest)]) == [reason]
    assert problems(honest, []) == []
    assert problems(foreign, []) == [
        "name is free or yours: the name of the prelude 'central-images' belongs to the package dpib"
    ]
    assert problems(forged, [stored(with_prelude("1" * 64, seed=1))]) == [], "reviewed when dpib had that code"


def test_t14_a_preludes_name_belongs_to_the_package_that_was_stored_first(record: RunRecord) -> None:
    def with_prelude(distribution: str, seed: int) -> RunRecord:
        block = {"name": "mine", "distribution": distribution, "version": "1", "source_digest": "1" * 64}
        return of(seeded(record, seed), "bob", preludes=[{**block, "config": {}, "layers": [], "changed": []}])

    known = [stored(with_prelude("mine", 1))]
    assert problems(with_prelude("mine", 2), known) == []
    assert "the prelude 'mine' belongs to the package mine" in str(problems(with_prelude("other", 2), known))


def test_a_record_of_earlier_code_is_reviewed_again_as_it_was(record: RunRecord) -> None:
    known = stored(of(record, "alice", source_digest="1" * 64))
    checks = history.history_checks(known.record, [known], place=known.place)
    assert all(check.holds for check in checks)


def test_t20_one_account_cannot_fill_the_queue(record: RunRecord) -> None:
    many = [stored(seeded(record, seed)) for seed in range(1, 52)]
    assert "(429)" in str(history.history_checks(seeded(record, 99), many))
    assert "(429)" not in str(history.history_checks(seeded(record, 99), many[:49], sent=49))
    assert "(429)" in str(history.history_checks(seeded(record, 99), [], sent=50))


def test_t05_t17_the_process_selects_nothing_and_inherits_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    from dpib.metrics.selection import StoredSelector
    from dpib.verify import stored_epochs

    assert StoredSelector({"small-cnn": 3}).open("small-cnn", 10).chosen() == 3
    assert stored_epochs(()) == {}
    assert not [name for name in recompute.PASSED_ON if "TOKEN" in name or name.startswith("HF")]


def test_t09_the_process_is_stopped_when_it_takes_too_much(make: Make) -> None:
    folder = make()
    memory = recompute.recompute(folder, scores=False, memory=200 << 20)
    assert [check.holds for check in memory.checks] == [False]
    slow = recompute.recompute(folder, scores=False, seconds=1)
    assert "stopped after 1 seconds" in slow.checks[0].detail


def test_nothing_is_deleted_only_invalidated_with_a_reason(make: Make, record: RunRecord) -> None:
    folder = make()
    review = stored(record).review
    assert review is not None
    review.save(folder)
    assert invalidate(folder, "the code had a bug").invalidated
    again = load_review(folder)
    assert again is not None and "the code had a bug" in (again.invalidated or "")
    assert Entry(folder, record, again).shown.scores == ()
    with pytest.raises(Exception, match="invalidated already"):
        invalidate(folder, "again")


def test_t08_t09_a_bomb_in_the_images_ends_in_the_process_and_is_refused(make: Make) -> None:
    """In the real process: what its header promises is small, what its dictionary unpacks to is not."""
    folder = make()
    cell = {"bytes": bytes(1_000_000), "path": "x"}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"image": pyarrow.array([cell] * 1000, kind), "label": pyarrow.array([0] * 1000, pyarrow.int64())}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "images.parquet", compression="zstd")
    assert (folder / "images.parquet").stat().st_size < 10_000
    review = review_of(folder)
    assert not review.accepted
    assert "expected the bytes of one image" in " ".join(review.reasons) or "unpack to" in " ".join(review.reasons)
