"""The ledger: on disk before anything is read, never rewound, found again after a crash, never under-counting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpib.dataset_spec import BundledSource, DatasetSpec, SplitRule
from dpib.errors import BudgetExceeded, PrivacyError, RecordError, UnsupportedMechanism
from dpib.privacy.dpsgd_plan import DpSgdPlan
from dpib.privacy.events import NonPrivate, PureDp, SampledGaussian
from dpib.privacy.ledger import Budget, Charge, LedgerFile, PrivacyLedger, parse_charges, read_ledger_lines
from dpib.privacy.noise import NoiseSource
from dpib.privacy.statement import describe_charge, privacy_statement, round_down, round_up, same_statement
from dpib.spec import canonical_json

from .conftest import DELTA, FSYNC, OTHER_SECRET, TASK, Bench, open_bench

UNLIMITED = Budget(epsilon=None, delta=DELTA)


def gaussian(sigma: float = 5.0, q: float = 1.0, steps: int = 1) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=sigma, sample_rate=q, steps=steps)


def open_ledger(path: Path, epsilon: float | None = None, session: str = "s", side: Any = "train") -> PrivacyLedger:
    return PrivacyLedger(LedgerFile(path), side, Budget(epsilon=epsilon, delta=DELTA), session)


def never(*_: Tensor) -> Tensor:
    raise AssertionError("private data was read")


def pixels(images: Tensor, labels: Tensor) -> Tensor:
    return images.flatten(1).float()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def trainer(bench: Bench, loss: Callable[[Tensor, Tensor], Tensor] | None = None, **changes: Any) -> None:
    model = nn.Linear(64, 1)
    values: dict[str, Any] = {"steps": 2, "sample_rate": 0.5, "clipping_norm": 1.0, "noise_multiplier": 40.0, **changes}
    bench.private.train(
        model,
        loss or (lambda images, labels: model(images.flatten(1) / 255)[:, 0]),
        DpSgdPlan(**values),
        label="train",
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


def test_a_charge_is_on_disk_and_seen_by_another_process_before_data_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}  # inode -> bytes that were there when it was flushed to the disk

    def fsync(handle: int) -> None:
        FSYNC(handle)
        synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    monkeypatch.setattr(os, "fsync", fsync)
    inode = bench.path.stat().st_ino
    seen: list[list[dict[str, Any]]] = []

    def look(images: Tensor, labels: Tensor) -> Tensor:
        if len(images) > 1:  # one image is the made-up one that tells the width of the sum
            assert synced.get(inode) == bench.path.stat().st_size, "the ledger was not flushed to the disk"
            program = "import sys; print(open(sys.argv[1]).read())"
            text = subprocess.run([sys.executable, "-S", "-c", program, bench.path], capture_output=True, check=True)
            seen.append([json.loads(line) for line in text.stdout.split()])
        return pixels(images, labels)

    bench.private.noisy_sum(look, label="first", clipping_norm=1.0, noise_multiplier=5.0)
    assert [line["type"] for line in seen[0]] == ["open", "charge"]
    assert seen[0][1]["label"] == "first" and seen[0][1]["event"]["noise_multiplier"] == 5.0


@pytest.mark.parametrize("mechanism", ["noisy_sum", "noisy_argmax", "train", "declared", "reveal"])
def test_every_mechanism_enters_its_charge_before_it_reads(
    bench: Bench, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_append = LedgerFile.append

    def append(self: LedgerFile, line: dict[str, Any]) -> None:
        real_append(self, line)
        order.append(str(line["type"]))

    class Watched:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            order.append("read")
            return getattr(self._inner, name)

        def __len__(self) -> int:
            order.append("read")
            return len(self._inner)

    monkeypatch.setattr(LedgerFile, "append", append)
    private = bench.private
    private._data = Watched(private._data)  # type: ignore[assignment]
    if mechanism == "noisy_sum":
        private.noisy_sum(pixels, label="x", clipping_norm=1.0, noise_multiplier=5.0)
    elif mechanism == "noisy_argmax":
        ballot = private.noisy_argmax(1, epsilon=1.0, label="x")
        ballot.score(lambda images, labels: labels.float())
        ballot.winner()
    elif mechanism == "train":
        trainer(bench)
    elif mechanism == "declared":
        with private.declared(gaussian(), label="x", reason="why", source="where") as data:
            assert len(data) == 64
    else:
        assert len(private.reveal(label="x")) == 64
    assert order[0] == "charge" and order[-1] in ("done", "read")
    assert "read" in order and order.count("charge") == 1 and order.count("done") == 1


@pytest.mark.parametrize("mechanism", ["noisy_sum", "plan", "noisy_argmax", "train", "declared", "reveal"])
def test_what_the_budget_does_not_allow_reads_nothing_and_charges_nothing(tmp_path: Path, mechanism: str) -> None:
    bench = open_bench(tmp_path, epsilon=0.1)
    before = bench.text
    bench.private._data = None  # type: ignore[assignment] # whoever reads fails
    with pytest.raises(BudgetExceeded):
        if mechanism == "noisy_sum":
            bench.private.noisy_sum(never, label="x", clipping_norm=1.0, noise_multiplier=5.0)
        elif mechanism == "plan":
            bench.private.plan_noisy_sums(10_000, label="x", clipping_norm=1.0, noise_multiplier=100.0)
        elif mechanism == "noisy_argmax":
            bench.private.noisy_argmax(3, epsilon=0.1001, label="x")
        elif mechanism == "train":
            trainer(bench, noise_multiplier=5.0)
        elif mechanism == "declared":
            with bench.private.declared(gaussian(), label="x", reason="why", source="where"):
                pytest.fail("raw records were handed out")
        else:
            bench.private.reveal(label="x")
    assert bench.text == before and bench.ledger.charges == ()


def test_the_budget_may_be_used_up_but_not_passed(path: Path) -> None:
    ledger = open_ledger(path, epsilon=0.3)
    for name in "abc":
        ledger.charge(name, PureDp(epsilon=0.1))
    assert ledger.spent() == pytest.approx(0.3)
    with pytest.raises(BudgetExceeded, match=r"ε = 0\.3.*budget is 0\.3.*Nothing was read"):
        ledger.charge("d", PureDp(epsilon=1e-6))
    assert len(ledger.charges) == 3


def test_calibrated_charges_share_one_budget(path: Path) -> None:
    ledger = open_ledger(path, epsilon=1.0)
    first = ledger.charge("query", gaussian(9.0))
    second = ledger.charge("rest", gaussian(), calibrate_noise=True)
    assert isinstance(second.event, SampledGaussian) and second.event.noise_multiplier > 4.119
    assert ledger.events == (first.event, second.event)
    assert 0.98 < ledger.spent() <= 1.0 < ledger.spent("rdp")
    with pytest.raises(BudgetExceeded):
        ledger.charge("more", gaussian(9.0))


def test_an_access_with_too_little_noise_to_be_priced_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    for ledger in (open_ledger(path, epsilon=1.0), open_ledger(tmp_path / "other.jsonl")):
        with pytest.raises(UnsupportedMechanism, match=r"'query': the noise multiplier 0\.003 is beyond"):
            ledger.charge("query", gaussian(0.003))
        assert ledger.charges == ()


def test_pure_and_gaussian_accesses_of_one_side_are_not_mixed(path: Path) -> None:
    ledger = open_ledger(path, epsilon=5.0)
    ledger.charge("a", gaussian())
    size = path.stat().st_size
    with pytest.raises(UnsupportedMechanism):
        ledger.charge("b", PureDp(epsilon=0.1))
    assert path.stat().st_size == size


@pytest.mark.parametrize(("event", "epsilon"), [(PureDp(epsilon=0.1), 1.0), (gaussian(), None)])
def test_only_gaussian_noise_under_a_finite_budget_is_calibrated(path: Path, event: Any, epsilon: float | None) -> None:
    with pytest.raises(UnsupportedMechanism, match="calibrated"):
        open_ledger(path, epsilon).charge("a", event, calibrate_noise=True)


def test_unprotected_access_needs_an_unlimited_budget(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded, match="unprotected"):
        open_ledger(path, epsilon=1e6).charge("a", NonPrivate())
    free = open_ledger(tmp_path / "other.jsonl")
    free.charge("a", NonPrivate(), assurance="non-private")
    assert free.spent() == float("inf")


def test_sides_are_accounted_apart_in_one_file(path: Path) -> None:
    file = LedgerFile(path)
    train = PrivacyLedger(file, "train", Budget(epsilon=5.0, delta=DELTA), "s")
    validation = PrivacyLedger(file, "validation", Budget(epsilon=1.0, delta=DELTA), "s")
    a = train.charge("same label", gaussian())
    b = validation.charge("same label", PureDp(epsilon=0.5))
    assert (a.id, b.id) == ("train-0001", "validation-0001")
    assert train.events == (a.event,) and validation.events == (b.event,)
    assert validation.spent() == 0.5


def test_labels_are_used_once(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.charge("a", gaussian())
    with pytest.raises(PrivacyError, match="Two accesses are labelled 'a'"):
        ledger.charge("a", gaussian())
    assert len(ledger.charges) == 1


# ---- crashes ----


def test_a_line_torn_at_any_byte_is_a_charge_that_never_happened(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.charge("kept", gaussian(3.0))
    before = path.read_bytes()
    ledger.charge("torn — ε", gaussian(4.0), notes="\u2028 \x85 \n")
    whole = path.read_bytes()
    for cut in range(len(before), len(whole)):
        path.write_bytes(whole[:cut])
        reopened = open_ledger(path)
        assert [c.label for c in reopened.charges] == ["kept"], cut
        assert path.read_bytes() == whole[:cut], "opening a ledger changed it"
        reopened.charge("next", gaussian(6.0))
        assert path.read_bytes().startswith(before)
        assert [c.label for c in open_ledger(path).charges] == ["kept", "next"], cut
    path.write_bytes(whole)
    assert [c.label for c in open_ledger(path).charges] == ["kept", "torn — ε"]


def test_a_torn_opening_line_is_written_again(path: Path) -> None:
    open_ledger(path, epsilon=2.0)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        open_ledger(path, epsilon=2.0)
        assert path.read_bytes() == whole


def test_the_file_only_grows_and_its_beginning_never_changes(tmp_path: Path) -> None:
    path, before = tmp_path / "ledger.jsonl", b""
    for session in ("s", "s", "t"):
        ledger = open_ledger(path, session=session)
        for action in range(4):
            charge = ledger.charge(f"label {action}", gaussian(steps=2))
            ledger.done(charge, 1)
            ledger.done(charge, 2)
            now = path.read_bytes()
            assert now.startswith(before) and len(now) >= len(before)
            before = now
    assert len(open_ledger(path).charges) == 8


def test_a_failed_write_leaves_no_half_line_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(path)
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"type":"charge","half')  # what a full disk leaves
    ledger.charge("a", gaussian())
    assert path.read_bytes().startswith(before) and b"half" not in path.read_bytes()
    assert [c.label for c in open_ledger(path).charges] == ["a"]


@pytest.mark.parametrize("tamper", ["append", "truncate"])
def test_a_ledger_that_somebody_else_changed_is_not_charged_further(path: Path, tamper: str) -> None:
    ledger = open_ledger(path)
    ledger.charge("a", gaussian())
    if tamper == "append":
        open_ledger(path).charge("b", gaussian())
    else:
        path.write_bytes(path.read_bytes()[:-5])
    content = path.read_bytes()
    with pytest.raises(PrivacyError, match="changed by somebody else"):
        ledger.charge("c", gaussian())
    assert path.read_bytes() == content


def test_the_same_access_is_found_again_free_and_identical(path: Path) -> None:
    def charges(ledger: PrivacyLedger) -> list[Charge]:
        return [
            ledger.charge("q", gaussian(30.0), sensitivity=1.0, norm="l2"),
            ledger.charge("sums", gaussian(1.0, 1.0, 7), calibrate_noise=True),
        ]

    first = charges(open_ledger(path, epsilon=1.0))
    content = path.read_bytes()
    assert charges(open_ledger(path, epsilon=1.0)) == first
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"event": gaussian(6.0)},
        {"event": gaussian(5.0, 0.5)},
        {"event": gaussian(5.0, 1.0, 2)},
        {"event": PureDp(epsilon=0.1)},
        {"sensitivity": 2.0},
        {"norm": "linf"},
        {"sampling": "poisson"},
        {"assurance": "non-private"},
        {"notes": "other"},
    ],
    ids=str,
)
def test_an_access_with_other_parameters_is_refused_after_a_crash(path: Path, change: dict[str, Any]) -> None:
    access: dict[str, Any] = {"event": gaussian(5.0), "sensitivity": 1.0, "norm": "l2"}
    open_ledger(path).charge("a", **access)
    content = path.read_bytes()
    with pytest.raises(PrivacyError, match="with other parameters"):
        open_ledger(path).charge("a", **{**access, **change})
    assert path.read_bytes() == content


def test_a_calibrated_access_is_not_taken_for_another_kind_or_length(path: Path) -> None:
    open_ledger(path, epsilon=1.0).charge("a", gaussian(1.0, 1.0, 7), calibrate_noise=True)
    for other in (gaussian(1.0, 1.0, 8), gaussian(1.0, 0.3, 7), PureDp(epsilon=0.1)):
        with pytest.raises(PrivacyError, match="with other parameters"):
            open_ledger(path, epsilon=1.0).charge("a", other, calibrate_noise=True)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (lambda p: p.noisy_argmax(3, epsilon=0.1, label="x"), lambda p: p.noisy_argmax(4, epsilon=0.1, label="x")),
        (
            lambda p: p.plan_noisy_sums(2, label="x", clipping_norm=1.0, noise_multiplier=5.0),
            lambda p: p.plan_noisy_sums(2, label="x", clipping_norm=1.0, noise_multiplier=5.0, by_class=True),
        ),
        (
            lambda p: p.plan_noisy_sums(2, label="x", clipping_norm=1.0, noise_multiplier=5.0),
            lambda p: p.plan_noisy_sums(2, label="x", clipping_norm=1.5, noise_multiplier=5.0),
        ),
    ],
    ids=["candidates", "by class", "clipping norm"],
)
def test_another_question_never_gets_the_noise_of_an_earlier_one(tmp_path: Path, first: Any, then: Any) -> None:
    first(open_bench(tmp_path).private)
    with pytest.raises(PrivacyError, match="with other parameters"):
        then(open_bench(tmp_path).private)


def test_training_with_another_noise_multiplicity_is_another_access(tmp_path: Path) -> None:
    trainer(open_bench(tmp_path))
    model = nn.Linear(64, 1)
    with pytest.raises(PrivacyError, match="with other parameters"):
        open_bench(tmp_path).private.train(
            model,
            lambda images, labels: model(images.flatten(1).repeat_interleave(2, 0) / 255)[:, 0],
            DpSgdPlan(steps=2, sample_rate=0.5, clipping_norm=1.0, noise_multiplier=40.0, noise_multiplicity=2),
            label="train",
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        )


def test_without_its_secret_an_access_is_charged_anew_until_nothing_is_left(tmp_path: Path) -> None:
    def release(session: str, secret: bytes) -> Tensor:
        bench = open_bench(tmp_path, epsilon=1.3, noise=NoiseSource(secret), session=session)
        return bench.private.noisy_sum(pixels, label="x", clipping_norm=1.0, noise_multiplier=5.0)

    first = release("one", OTHER_SECRET)
    assert torch.equal(release("one", OTHER_SECRET), first)
    second = release("two", bytes(32))
    assert not torch.equal(first, second)
    ledger = open_ledger(tmp_path / "ledger.jsonl", 1.3, "three")
    assert [c.id for c in ledger.charges] == ["train-0001", "train-0002"]
    content = ledger._file.path.read_bytes()
    with pytest.raises(BudgetExceeded):
        release("three", bytes([1] * 32))
    assert ledger._file.path.read_bytes() == content


def test_a_declared_access_is_charged_every_time_since_its_noise_is_not_ours(tmp_path: Path) -> None:
    for times in (1, 2):
        bench = open_bench(tmp_path)
        with bench.private.declared(gaussian(), label="x", reason="why", source="where"):
            assert len(bench.ledger.charges) == times
    assert [c.id for c in bench.ledger.charges] == ["train-0001", "train-0002"]


def test_another_budget_is_refused(path: Path) -> None:
    open_ledger(path, epsilon=1.0)
    for budget in (
        Budget(epsilon=2.0, delta=DELTA),
        Budget(epsilon=None, delta=DELTA),
        Budget(epsilon=1.0, delta=1e-5),
    ):
        with pytest.raises(PrivacyError, match="another budget"):
            PrivacyLedger(LedgerFile(path), "train", budget, "s")
    assert len(read_ledger_lines(path)) == 1


def test_steps_executed_are_noted_once_and_must_be_a_count(path: Path) -> None:
    ledger = open_ledger(path)
    charge = ledger.charge("a", gaussian(steps=5))
    ledger.done(charge, 3)
    ledger.done(charge, 3)
    ledger.done(charge, 5)
    assert parse_charges(read_ledger_lines(path))[1] == {charge.id: 5}
    assert sum(line["type"] == "done" for line in read_ledger_lines(path)) == 2
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="count of steps"):
            ledger.done(charge, wrong)  # type: ignore[arg-type]


# ---- what is read from outside ----

CHARGE = {"type": "charge", "id": "train-0001", "side": "train", "label": "a", "event": {"kind": "non-private"}}


@pytest.mark.parametrize(
    "lines",
    [
        [{"type": "refund", "id": "train-0001"}],
        [{"no": "type"}],
        [{"type": ["charge"]}],
        [CHARGE, CHARGE],
        [{**CHARGE, "side": "test"}],
        [{**CHARGE, "discount": 1}],
        [{**CHARGE, "event": {"kind": "free"}}],
        [{**CHARGE, "event": {"kind": "sampled-gaussian", "noise_multiplier": 0.0}}],
        [{**CHARGE, "event": {"kind": "sampled-gaussian", "noise_multiplier": "4"}}],
        [{**CHARGE, "event": {"kind": "sampled-gaussian", "noise_multiplier": float("inf")}}],
        [{**CHARGE, "event": {"kind": "sampled-gaussian", "noise_multiplier": 1.0, "sample_rate": 1.5}}],
        [{**CHARGE, "event": {"kind": "sampled-gaussian", "noise_multiplier": 1.0, "steps": 0}}],
        [{**CHARGE, "event": {"kind": "pure-dp", "epsilon": float("nan")}}],
        [{**CHARGE, "event": {"kind": "pure-dp", "epsilon": -1.0}}],
        [{"type": "done", "id": "train-0001", "steps_executed": 1}],
        [CHARGE, {"type": "done", "id": "train-0001", "steps_executed": "1"}],
        [CHARGE, {"type": "done", "id": "train-0001", "steps_executed": True}],
        [CHARGE, {"type": "done", "id": "train-0001", "steps_executed": -1}],
        [CHARGE, {"type": "done", "id": ["train-0001"], "steps_executed": 1}],
    ],
    ids=str,
)
def test_lines_that_no_ledger_writes_are_refused(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RecordError):
        parse_charges(read_ledger_lines(path))


@pytest.mark.parametrize("text", [b"{}\nnot json\n", b"[1]\n", b"\n", b"{}\n\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_files_that_are_no_ledger_are_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(RecordError, match="the ledger was edited"):
        read_ledger_lines(path)
    with pytest.raises(RecordError, match="the ledger was edited"):
        LedgerFile(path)


def test_a_torn_line_is_no_part_of_a_finished_ledger(path: Path) -> None:
    open_ledger(path).charge("a", gaussian())
    digest = LedgerFile(path).digest
    path.write_bytes(path.read_bytes() + b'{"type"')
    assert LedgerFile(path).digest != digest
    with pytest.raises(RecordError):
        read_ledger_lines(path)


def test_the_digest_is_of_the_whole_file_and_of_nothing_when_there_is_none(path: Path) -> None:
    empty = LedgerFile(path).digest
    open_ledger(path)
    assert LedgerFile(path).digest != empty and not (path.parent / "none").exists()


# ---- random histories ----

actions = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), st.integers(0, 5), st.sampled_from([0.05, 0.1, 0.4])),
        st.tuples(st.just("crash"), st.floats(0, 1), st.booleans()),
        st.tuples(st.just("done"), st.integers(0, 5), st.integers(0, 3)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(actions)
def test_no_history_of_charges_and_crashes_loses_a_charge_or_passes_the_budget(history: list[Any]) -> None:
    budget = 1.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        session = 0
        ledger = open_ledger(path, budget, f"s{session}")
        released: dict[str, Charge] = {}
        for kind, a, b in history:
            if kind == "charge":
                try:
                    charge = ledger.charge(f"l{a}", PureDp(epsilon=b))
                except PrivacyError:
                    continue
                assert released.setdefault(charge.id, charge) == charge, "one id for two accesses"
            elif kind == "done":
                for charge in list(released.values())[:1]:
                    ledger.done(charge, b)
            else:  # the next line is cut off somewhere; perhaps the secret is lost too
                if b:
                    session += 1
                ghost = Charge(id="ghost", side="train", label="ghost", event=PureDp(epsilon=0.5))
                line = canonical_json({"type": "charge", **ghost.model_dump(mode="json")}).encode()
                with path.open("ab") as file:
                    file.write(line[: int(a * len(line))])
                ledger = open_ledger(path, budget, f"s{session}")
            counted = Counter(c.id for c in open_ledger(path, budget).charges)
            assert counted == Counter(released.keys())
            assert ledger.spent() <= budget * (1 + 1e-9)
            prices = [c.event.epsilon for c in released.values() if isinstance(c.event, PureDp)]
            assert ledger.spent() == pytest.approx(sum(prices)) and len(prices) == len(released)


# ---- the statement ----

CARD = DatasetSpec(
    name="toy",
    title="Toy",
    role="sensitive",
    source=BundledSource(),
    shape=TASK.shape,
    classes=TASK.classes,
    split=SplitRule(kind="published", n_pool=64, sizes={"train": 64}),
    fingerprints={},
    licence="none",
    citation="none",
    homepage="none",
)


def charged(event: Any, **fields: Any) -> Charge:
    return Charge(id="train-0001", side="train", label="x", event=event, **fields)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (NonPrivate(), "x: raw records, unprotected"),
        (PureDp(epsilon=0.5), "x: report-noisy-max, ε = 0.5"),
        (gaussian(4.0), "x: one release of all records, Gaussian noise of 4 times the sensitivity"),
        (
            gaussian(4.0, 0.25, 9),
            "x: 9 releases on Poisson samples at rate 0.25, Gaussian noise of 4 times the sensitivity",
        ),
    ],
)
def test_every_kind_of_access_is_put_in_words(event: Any, words: str) -> None:
    assert describe_charge(charged(event)) == words


def test_the_statement_says_what_is_promised_and_what_is_not() -> None:
    text = privacy_statement(CARD, [charged(gaussian(4.0))], 1.0, 1.07, 1e-6)
    assert "(1, 1e-06)-differential privacy" in text and "(Rényi accountant: 1.07)" in text
    assert "Not covered: the scores" in text and "as their author declares" not in text
    declared = privacy_statement(CARD, [charged(gaussian(4.0), assurance="declared")], 1.0, None, 1e-6)
    assert "as their author declares" in declared and "Rényi" not in declared
    assert "no private image was read" in privacy_statement(CARD, [], 0.0, 0.0, 1e-6)
    assert privacy_statement(CARD, [charged(NonPrivate())], None, None, 1e-6).startswith("NOT PRIVATE")


def test_statements_are_the_same_up_to_rounding_and_what_was_added_since() -> None:
    ours = privacy_statement(CARD, [charged(gaussian(4.0))], 1.0, 1.0701, 1e-6)
    first = ours.replace("the time and memory that the run took; ", "").replace("1.071", "1.07")
    assert first != ours and same_statement(ours, first)
    assert not same_statement(ours, ours.replace("1.071", "1.01"))
    assert not same_statement(ours, ours.replace("each single record", "each person"))
    assert not same_statement(ours, ours + " Safe.")
    assert not same_statement(ours, "")


def test_the_statement_promises_no_less_than_the_figures() -> None:
    text = privacy_statement(CARD, [charged(PureDp(epsilon=0.33331))], 9.99912, 10.0001, 1.66512e-6)
    assert "(10, 1.666e-06)-differential privacy" in text
    assert "(Rényi accountant: 10.01)" in text and "ε = 0.3334" in text


@given(st.floats(1e-12, 1e12))
def test_a_stated_figure_is_never_too_small(value: float) -> None:
    assert value / 1.00101 <= float(round_down(value)) <= value <= float(round_up(value)) <= value * 1.00101


@pytest.mark.parametrize("text", ["0", "0.1", "0.2", "1.07", "10", "1e-05"])
def test_a_short_figure_is_stated_as_it_is(text: str) -> None:
    assert round_up(float(text)) == text


def test_a_witness_gets_every_line_that_is_on_disk(path: Path) -> None:
    with (path.parent / "witness").open("w+b") as witness:
        file = LedgerFile(path, witness)
        file.append({"type": "open"})
        file.append({"type": "done"})
        witness.seek(0)
        assert witness.read() == path.read_bytes()


def test_a_charge_that_its_witness_does_not_hear_of_counts_and_keeps_its_number(path: Path) -> None:
    with (path.parent / "witness").open("w+b") as witness:
        ledger = PrivacyLedger(LedgerFile(path, witness), "train", Budget(epsilon=10.0, delta=DELTA), "s")
    event = SampledGaussian(noise_multiplier=20.0)
    for label in ("one", "two"):
        with pytest.raises(ValueError, match="closed file"):
            ledger.charge(label, event)
    assert [charge.id for charge in ledger.charges] == ["train-0001", "train-0002"]
    assert parse_charges(read_ledger_lines(path))[0] == list(ledger.charges)
