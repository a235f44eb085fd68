"""Recomputes what a record claims: ε from its ledger by two accountants, scores from its stored images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dpib import catalogue, claims
from dpib.agreement import scores_agree
from dpib.contribution import InstalledMethod
from dpib.data.imagefile import load_parquet
from dpib.data.images import LabelledImages
from dpib.data.load import load_splits
from dpib.dataset_spec import DatasetSpec
from dpib.errors import ConfigError, DataError, DpibError, PluginError, UnknownName, UnsupportedMechanism
from dpib.evaluation import evaluate, is_complete
from dpib.job import prepare
from dpib.metrics.base import EvalInputs
from dpib.metrics.selection import StoredSelector
from dpib.privacy import noise
from dpib.privacy.accountants import AccountantName, epsilon
from dpib.privacy.ledger import Charge, LedgerFile, parse_charges, read_ledger_lines
from dpib.privacy.statement import privacy_statement, same_statement
from dpib.progress import Reporter
from dpib.recording import LABEL_SHARES, assurance_of, summarise
from dpib.records import MethodBlock, PreludeBlock, PrivacyBlock, Protocol, RunRecord, Score, load_record
from dpib.spec import Track
from dpib.workspace import RunPlan

EPSILON_TOLERANCE = 1e-3
"""Largest relative difference between a claimed and a recomputed ε."""

_FORMS = {
    "accountant": r"dp-accounting \d+(\.\w+)+ PLD",
    "second_accountant": r"dp-accounting \d+(\.\w+)+ RDP",
    "tuning": r"not accounted: .+",
}
"""What the harness writes with a version or a reason in it; other statements of its are constants."""

Key = tuple[str, str | None, str | None]
"""Of a score: metric, protocol, classifier."""


@dataclass(frozen=True)
class Check:
    """One claim and whether it holds; ``holds`` None means it could not be decided here."""

    name: str
    holds: bool | None
    detail: str


@dataclass(frozen=True)
class Verification:
    """What became of a record's claims.

    Attributes:
        spent_epsilon: ε of the ledger by PLD, the larger of both sides; None if infinite, or if there is no price.
        second_opinion: the same by RDP.
        statement: written anew from the ledger; None if there is no price.
    """

    record: RunRecord
    checks: tuple[Check, ...]
    spent_epsilon: float | None = None
    second_opinion: float | None = None
    statement: str | None = None


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


def _claim(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except DpibError as error:
        return Check(name, False, str(error))


def _recorded(ours: float, recorded: float | None) -> bool:
    """Return whether a recomputed ε is the recorded one; None stands for infinity."""
    return math.isinf(ours) if recorded is None else abs(ours - recorded) <= EPSILON_TOLERANCE * max(recorded, 1e-9)


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _rule_checks(record: RunRecord, dataset: DatasetSpec, track: Track) -> list[Check]:
    data = _claim("data are the card's", lambda: claims.check_data(record, dataset))
    if data.holds and not dataset.fingerprints:
        data = replace(data, holds=None, detail=f"nobody has put fingerprints on the card of {dataset.name}")
    complete = (record.status == "complete") == is_complete(record.scores)
    return [
        _claim("rules are the track's", lambda: claims.check_rules(record, track, dataset)),
        data,
        _settings_check(record),
        Check("status is that of the scores", complete, f"{record.status}, {len(record.scores)} scores"),
    ]


def _settings_check(record: RunRecord) -> Check:
    """Resolve the settings of dpib's own methods and preludes anew, where the code that ran is the one installed."""
    name, method = "settings are the presets'", record.method
    try:
        installed = catalogue.method(method.name)
    except (UnknownName, PluginError):
        installed = None
    if installed is None or not _is_ours(method, installed):
        return Check(name, None, "the code that ran is not dpib's as it is installed here")

    def as_resolved() -> str:
        plan = prepare(record.task.spec).plan("cpu")
        parts: list[tuple[RunPlan | PreludeBlock, MethodBlock | PreludeBlock]] = [(plan, method)]
        parts += [(a, b) for a, b in zip(plan.preludes, method.preludes, strict=False) if _is_ours(b, a)]
        for ours, theirs in parts:
            for field in ("config", "layers", "changed"):
                same = getattr(ours, field) == getattr(theirs, field)
                claims.require(same, f"{theirs.name}: {field} is not what the presets give")
        return f"{len(method.config)} settings of {', '.join(theirs.name for _, theirs in parts)}"

    return _claim(name, as_resolved)


def _is_ours(ran: MethodBlock | PreludeBlock, installed: InstalledMethod | PreludeBlock) -> bool:
    identity = ("dpib", installed.source_digest)
    return (ran.distribution, ran.source_digest) == identity == (installed.distribution, installed.source_digest)


def _ledger_checks(
    record: RunRecord,
    ledger: Path,
    lines: Sequence[Mapping[str, Any]],
    charges: Sequence[Charge],
    steps: Mapping[str, int],
    track: Track,
) -> list[Check]:
    def as_charged() -> str:
        for charge in charges:
            claims.check_charge(charge, steps.get(charge.id))
        return f"{len(charges)} accesses, sampled as priced, no step unpaid"

    digest = LedgerFile(ledger).digest
    same = record.privacy.events == tuple(summarise(charge, steps.get(charge.id)) for charge in charges)
    return [
        Check("ledger unchanged", digest == record.privacy.ledger_digest, f"SHA-256 {digest[:12]}…"),
        Check("ledger is the record's", same, f"{len(charges)} accesses"),
        _claim("ledger opens by the rules", lambda: claims.check_openings(record, lines)),
        _claim("accesses are as charged", as_charged),
        _claim("chosen epochs are paid for", lambda: claims.check_selections(record, track, charges)),
    ]


def _badge_checks(privacy: PrivacyBlock, charges: Sequence[Charge], dataset: DatasetSpec) -> list[Check]:
    """Compare what is said of a guarantee beside ε with what the charges imply and the harness writes."""
    weakest = assurance_of(charges)
    ours = all(charge.assurance == "mechanism" for charge in charges if charge.side == "validation")
    detail = (
        f"{privacy.assurance}, the ledger says {weakest if ours else 'that the validation side was read otherwise'}"
    )
    written = {
        "float_safe": privacy.float_safe is False,
        "label_shares": privacy.label_shares == LABEL_SHARES,
        "noise_source": privacy.noise_source == noise.DESCRIPTION,
        "unit": privacy.unit == dataset.privacy_unit,
        **{name: re.fullmatch(form, getattr(privacy, name)) is not None for name, form in _FORMS.items()},
    }
    others = ", ".join(sorted(name for name, holds in written.items() if not holds))
    return [
        Check("assurance", ours and privacy.assurance == weakest, detail),
        Check("as the harness writes it", not others, others or f"{len(written)} statements"),
    ]


def _priced(record: RunRecord, charges: Sequence[Charge], dataset: DatasetSpec, track: Track) -> Verification:
    """Recompute ε of both sides by two accountants and write the statement anew; δ and relation are the rules'."""
    privacy = record.privacy

    def recompute(accountant: AccountantName) -> dict[str, float]:
        sides = {side: [c.event for c in charges if c.side == side] for side in ("train", "validation")}
        return {side: epsilon(events, dataset.delta, accountant, track.relation) for side, events in sides.items()}

    by_side = recompute("pld")
    spent, second = max(by_side.values()), max(recompute("rdp").values())
    same_sides = by_side.keys() == privacy.spent_by_side.keys()
    same_sides = same_sides and all(_recorded(by_side[side], value) for side, value in privacy.spent_by_side.items())
    checks = [
        Check(name, _recorded(ours, value), f"recomputed {ours:.6g}, recorded {_shown(value)}")
        for name, ours, value in (
            ("ε by PLD", spent, privacy.spent_epsilon),
            ("ε by RDP", second, privacy.second_opinion),
        )
    ]
    checks.append(Check("ε by side", same_sides, ", ".join(f"{side} {value:.6g}" for side, value in by_side.items())))
    if math.isfinite(spent):
        within = spent <= record.task.spec.epsilon * (1 + 1e-9)
        checks.append(Check("within budget", within, f"target ε = {record.task.spec.epsilon:g}"))
    statement = privacy_statement(dataset, charges, _finite(spent), _finite(second), dataset.delta)
    same = same_statement(statement, privacy.statement)
    checks.append(
        Check("statement", same, f"the record's says {'the same as' if same else 'something else than'} its ledger")
    )
    return Verification(record, tuple(checks), _finite(spent), _finite(second), statement)


def _verified(record: RunRecord, ledger: Path, dataset: DatasetSpec, track: Track) -> Verification:
    """Check everything but images and scores."""
    checks = [Check("record unchanged", True, f"id {record.id[:12]}…"), *_rule_checks(record, dataset, track)]
    if not ledger.exists():
        missing = Check("ledger present", False, f"{ledger.name} is missing: ε counts as infinite")
        return Verification(record, (*checks, missing))
    lines = read_ledger_lines(ledger)
    charges, steps = parse_charges(lines)
    checks += _ledger_checks(record, ledger, lines, charges, steps, track)
    checks += _badge_checks(record.privacy, charges, dataset)
    try:
        priced = _priced(record, charges, dataset, track)
    except UnsupportedMechanism as error:
        return Verification(record, (*checks, Check("ε", False, f"unsupported privacy claim: {error}")))
    return replace(priced, checks=(*checks, *priced.checks))


def _image_checks(record: RunRecord, images: LabelledImages) -> list[Check]:
    count = torch.bincount(images.labels, minlength=len(record.task.classes)).tolist()
    return [
        Check("images unchanged", images.fingerprint == record.synthetic.digest, f"{len(images)} images"),
        Check("labels as recorded", tuple(count) == record.synthetic.per_class, "images per class"),
    ]


def _score_checks(record: RunRecord, track: Track, recomputed: tuple[Score, ...]) -> Iterator[Check]:
    """Compare scores. One that is undefined on a side, or may be for all that side says, is not decided."""
    ours, theirs = ({_key(score): score for score in scores} for scores in (recomputed, record.scores))
    lacking_here, lacking_there = _reason_for_absence(ours, theirs), _reason_for_absence(theirs, ours)
    for key in {**theirs, **ours}:
        mine, recorded = ours.get(key), theirs.get(key)
        if recorded is None and key[0] in track.optional_metrics:
            continue
        reason = next((score.reason for score in (mine, recorded) if score is not None and score.reason), None)
        if reason is None and mine is None:
            reason = "its plugin is not installed here" if key[0] in track.optional_metrics else lacking_here
        if reason is None and recorded is None:
            reason = lacking_there
        label = next(score.label for score in (mine, recorded) if score is not None)
        here, there = (None if score is None else score.value for score in (mine, recorded))
        stderr = None if mine is None else mine.stderr
        holds = None if reason is not None else scores_agree(key[0], here, there, stderr)
        detail = f"recomputed {_shown(here)}, recorded {_shown(there)}" + ("" if reason is None else f": {reason}")
        yield Check(label, holds, detail)


def _key(score: Score) -> Key:
    return score.metric, score.protocol, score.classifier


def _reason_for_absence(scores: Mapping[Key, Score], others: Mapping[Key, Score]) -> str | None:
    """Return why scores may be absent: a metric that cannot be computed has one undefined score for all of its own."""
    return next((score.reason for key, score in scores.items() if score.value is None and key not in others), None)


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
) -> Verification:
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
    found = _verified(record, folder / "ledger.jsonl", dataset, track)

    def with_more(*checks: Check) -> Verification:
        return replace(found, checks=(*found.checks, *checks))

    images_path = folder / record.synthetic.file
    if not images_path.exists():
        return with_more(Check("images", None, "not here; scores were not recomputed"))
    try:
        images = load_parquet(images_path, dataset.shape, len(dataset.classes))
    except DataError as error:
        return with_more(Check("images", False, str(error)))
    same_images = _image_checks(record, images)
    if not scores:
        return with_more(*same_images, Check("scores", None, "not recomputed, as asked"))
    try:
        splits = load_splits(dataset, data_dir)
    except DataError as error:
        return with_more(*same_images, Check("scores", None, f"not recomputed: {error}"))
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
    return with_more(*same_images, *_score_checks(record, track, evaluate(inputs)))
