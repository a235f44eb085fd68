"""Recomputes what a record claims: ε from its ledger by two accountants, scores from its stored images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dpib import catalogue
from dpib.agreement import scores_agree
from dpib.data.imagefile import load_parquet
from dpib.data.images import LabelledImages
from dpib.data.load import load_splits
from dpib.dataset_spec import DatasetSpec
from dpib.errors import ConfigError, DataError
from dpib.evaluation import evaluate
from dpib.metrics.base import EvalInputs
from dpib.metrics.selection import StoredSelector
from dpib.privacy.accountants import AccountantName, epsilon
from dpib.privacy.ledger import LedgerFile, parse_charges, read_ledger_lines
from dpib.progress import Reporter
from dpib.records import EventSummary, PrivacyBlock, Protocol, RunRecord, Score, load_record
from dpib.spec import Relation, Track

EPSILON_TOLERANCE = 1e-3
"""Largest relative difference between a claimed and a recomputed ε."""


@dataclass(frozen=True)
class Check:
    """One claim and whether it holds; ``holds`` None means it could not be decided here."""

    name: str
    holds: bool | None
    detail: str


def locate_record(path: Path) -> Path:
    """Return the record file of a run folder, or the path itself.

    Raises:
        ConfigError: if there is none.
    """
    record = path / "record.json" if path.is_dir() else path
    if not record.exists():
        below = [str(found.parent) for found in sorted(path.rglob("record.json"))[:3]]
        there = f" Below it: {', '.join(below)}." if below else ""
        raise ConfigError(f"No record at {record}. Give a finished run folder or its record.json.{there}")
    return record


def _epsilon_checks(privacy: PrivacyBlock, ledger: Path) -> list[Check]:
    if not ledger.exists():
        return [Check("ledger present", False, f"{ledger.name} is missing: ε counts as infinite")]
    digest = LedgerFile(ledger).digest
    charges, executed = parse_charges(read_ledger_lines(ledger))
    claimed = [event.model_dump(mode="json") for event in privacy.events]
    found = [
        EventSummary.from_plain(
            {**charge.model_dump(mode="json", exclude={"session"}), "steps_executed": executed.get(charge.id)}
        ).model_dump(mode="json")
        for charge in charges
    ]
    checks = [
        Check("ledger unchanged", digest == privacy.ledger_digest, f"SHA-256 {digest[:12]}…"),
        Check("ledger is the record's", claimed == found, f"{len(found)} accesses"),
    ]
    overrun = [c.id for c in charges if executed.get(c.id, 0) > getattr(c.event, "steps", 1)]
    checks.append(Check("no step unpaid", not overrun, ", ".join(overrun) or "executed steps within those charged"))
    relation = Relation(privacy.relation)

    def recompute(accountant: AccountantName) -> float:
        return max(
            epsilon([c.event for c in charges if c.side == side], privacy.delta, accountant, relation)
            for side in ("train", "validation")
        )

    for name, accountant, value in (
        ("ε by PLD", "pld", privacy.spent_epsilon),
        ("ε by RDP", "rdp", privacy.second_opinion),
    ):
        ours = recompute("pld" if accountant == "pld" else "rdp")
        holds = ours == float("inf") if value is None else abs(ours - value) <= EPSILON_TOLERANCE * max(value, 1e-9)
        checks.append(
            Check(name, holds, f"recomputed {ours:.6g}, recorded {value if value is None else f'{value:.6g}'}")
        )
    if privacy.spent_epsilon is not None:
        holds = recompute("pld") <= privacy.target_epsilon * (1 + 1e-9)
        checks.append(Check("within budget", holds, f"target ε = {privacy.target_epsilon:g}"))
    return checks


def _rule_checks(record: RunRecord, dataset: DatasetSpec, track: Track) -> list[Check]:
    delta_holds = abs(record.privacy.delta - dataset.delta) <= 1e-12 * dataset.delta
    known = {side: value for side, value in dataset.fingerprints.items() if side in record.task.fingerprints}
    same_data = all(record.task.fingerprints[side] == value for side, value in known.items())
    privacy, spec = record.privacy, record.task.spec
    same_rules = privacy.relation == track.relation.value and privacy.target_epsilon == spec.epsilon
    return [
        Check("relation and target are the rules'", same_rules, f"{privacy.relation}, ε = {privacy.target_epsilon:g}"),
        Check("δ = 1/(N₀ ln N₀)", delta_holds, f"{record.privacy.delta:.6g}"),
        Check("data are the card's", same_data if known else None, f"{len(known)} sides compared"),
    ]


def _image_checks(record: RunRecord, images: LabelledImages) -> list[Check]:
    count = torch.bincount(images.labels, minlength=len(record.task.classes)).tolist()
    return [
        Check("images unchanged", images.fingerprint == record.synthetic.digest, f"{len(images)} images"),
        Check("labels as recorded", tuple(count) == record.synthetic.per_class, "images per class"),
    ]


def _compare(ours: Score | None, theirs: Score) -> bool:
    if ours is not None and ours.value is None and theirs.value is None:
        return True
    return ours is not None and scores_agree(theirs.metric, ours.value, theirs.value, ours.stderr)


def _score_checks(record: RunRecord, track: Track, recomputed: tuple[Score, ...]) -> list[Check]:
    index = {(score.metric, score.protocol, score.classifier): score for score in recomputed}
    checks = []
    for theirs in record.scores:
        ours = index.get((theirs.metric, theirs.protocol, theirs.classifier))
        label = " ".join(filter(None, (theirs.metric, theirs.protocol, theirs.classifier)))
        if ours is None and theirs.metric in track.optional_metrics:
            checks.append(Check(label, None, f"cannot be computed here, recorded {theirs.value}"))
            continue
        value = None if ours is None else ours.value
        checks.append(Check(label, _compare(ours, theirs), f"recomputed {value}, recorded {theirs.value}"))
    return checks


def stored_epochs(scores: Sequence[Score], protocol: Protocol = "noisy-senv") -> dict[str, int]:
    """Return, per classifier, the epoch that a run chose: by default the privately chosen one."""
    return {
        score.classifier: score.epoch
        for score in scores
        if score.protocol == protocol and score.classifier is not None and score.epoch is not None
    }


def verify(
    path: Path,
    *,
    scores: bool = True,
    data_dir: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    reporter: Reporter | None = None,
) -> tuple[RunRecord, list[Check]]:
    """Recompute what a record claims.

    The epochs that were privately chosen in the run are read from the record; nothing selects again.

    Args:
        path: a run folder, or its ``record.json`` beside ``ledger.jsonl`` and ``images.parquet``.
        scores: also recompute the scores, which needs the real data.
        data_dir: folder of data mirrors.
        cache: folder for features; by default beside the run folders.
        device: torch device for the classifiers.
        reporter: where progress goes.

    Raises:
        ConfigError: if there is no record.
        RecordError: if it is not well-formed.
    """
    record_path = locate_record(path)
    folder = record_path.parent
    record = load_record(record_path)
    dataset = catalogue.dataset(record.task.spec.dataset)
    track = catalogue.track(record.task.spec.track)
    checks = [Check("record unchanged", True, f"id {record.id[:12]}…")]
    checks += _epsilon_checks(record.privacy, folder / "ledger.jsonl")
    checks += _rule_checks(record, dataset, track)
    images_path = folder / record.synthetic.file
    if not images_path.exists():
        return record, [*checks, Check("images", None, "not here; scores were not recomputed")]
    images = load_parquet(images_path, dataset.shape, len(dataset.classes))
    checks += _image_checks(record, images)
    if not scores:
        return record, [*checks, Check("scores", None, "not recomputed, as asked")]
    try:
        splits = load_splits(dataset, data_dir)
    except DataError as error:
        return record, [*checks, Check("scores", None, f"not recomputed: {error}")]
    inputs = EvalInputs(
        synthetic=images,
        splits=splits,
        task=dataset.task(),
        track=track,
        device=device,
        cache=cache or folder / "features",
        reporter=reporter or Reporter(),
        selector=StoredSelector(stored_epochs(record.scores)),
        claimed=stored_epochs(record.scores, "synv"),
    )
    return record, checks + _score_checks(record, track, evaluate(inputs))
