"""A submission against what the store already has: duplicates, replays, names, code, accounts, quotas, staleness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from dpib import catalogue
from dpib.contribution import InstalledMethod, InstalledPrelude
from dpib.errors import DpibError
from dpib.records import MethodBlock, PreludeBlock, RunRecord
from dpib_leaderboard import limits
from dpib_leaderboard.entries import Entry
from dpib_leaderboard.parsing import printable, skeleton
from dpib_leaderboard.reviews import Check

PLATFORM = "dpib"
"""The distribution whose methods belong to nobody: any account may send records of them."""


def run_key(record: RunRecord) -> tuple[str, ...]:
    """Return what makes a run the same again: code, data, seed and rules."""
    return record.method.distribution, record.method.source_digest, record.task.spec.digest


def stale_reason(record: RunRecord) -> str | None:
    """Return why a record's track or dataset is no longer current, or None."""
    spec = record.task.spec
    try:
        newest = catalogue.track(catalogue.track(spec.track).family)
        card = catalogue.dataset(spec.dataset)
    except DpibError as error:
        return str(error)
    if newest.name != spec.track:
        return f"{spec.track} is superseded by {newest.name}"
    changed = [side for side, value in card.fingerprints.items() if record.task.fingerprints.get(side) != value]
    return f"{card.name} has changed since: {', '.join(changed)}" if changed else None


def attempts_of(record: RunRecord, known: Sequence[Entry]) -> int:
    """Return the runs of this method on this dataset and ε that anybody has seen: in the store or as declared."""
    spec = record.task.spec
    task = (spec.track, spec.dataset, spec.method, spec.epsilon)
    others = [one.record.task.spec for one in known if one.record.id != record.id]
    same = sum((other.track, other.dataset, other.method, other.epsilon) == task for other in others)
    return max(record.privacy.attempts, 1 + same)


def history_checks(
    record: RunRecord, known: Sequence[Entry], *, place: str | None = None, sent: int = 0
) -> list[Check]:
    """Compare a submission with the store.

    Whose a name, a record or a variant of dpib's code is can be asked of a signed record only; of others it is left
    undecided. A review of a pull request refuses what its author has not signed.

    Args:
        record: the submission.
        known: the store's records.
        place: of the submission, where it lies in the store already; it is not compared with itself.
        sent: earlier pull requests of its account within a day.
    """
    others = [one for one in known if one.place != place]
    return [
        _named("not sent before", _replay(record, others)),
        _named("supersedes", _supersedes(record, others)),
        _named("name is free or yours", _name(record, others)),
        _of_account("same account", record, _owner(record, others)),
        _of_account("code", record, _code(record, known)),
        _named("within the quota", _quota(record, others, sent)),
        _named("current rules", stale_reason(record)),
    ]


def _named(name: str, problem: str | None) -> Check:
    return Check(name=name, holds=problem is None, detail=printable(problem or ""))


def _of_account(name: str, record: RunRecord, problem: str | None) -> Check:
    check = _named(name, problem)
    if problem is None or record.who.account is not None:
        return check
    return check.model_copy(update={"holds": None, "detail": f"not signed by an account: {check.detail}"})


def _stands(entry: Entry) -> bool:
    return entry.review is None or entry.review.accepted


def _same_reference(record: RunRecord, other: RunRecord) -> bool:
    """Return whether both are one reference in two cells: what reads no data, or all of it, makes the same images."""
    ours, theirs = record.task.spec, other.task.spec
    elsewhere = (ours.dataset, ours.epsilon) != (theirs.dataset, theirs.epsilon)
    return record.method.reference and ours.method == theirs.method and elsewhere


def _corrections(record: RunRecord, known: Sequence[Entry]) -> set[str]:
    """Return the ids of the records that a record corrects, and of those that correct it, at any remove."""
    links = {one.record.id: one.record.supersedes for one in known} | {record.id: record.supersedes}

    def back(identity: str | None) -> Iterator[str]:
        while identity is not None:
            yield identity
            identity = links.get(identity)

    return {*back(record.id), *(identity for identity in links if record.id in back(identity))}


def _replay(record: RunRecord, known: Sequence[Entry]) -> str | None:
    charged = bool(record.privacy.events)
    corrections = _corrections(record, known)
    for other in (one.record for one in known if _stands(one)):
        if other.id == record.id:
            return f"the record {record.id[:16]} is in the store already"
        if other.id in corrections:
            continue
        if other.synthetic.digest == record.synthetic.digest and not _same_reference(record, other):
            return f"the images are those of record {other.id[:16]}"
        if charged and other.privacy.ledger_digest == record.privacy.ledger_digest:
            return f"the ledger is that of record {other.id[:16]}"
        if run_key(other) == run_key(record):
            return f"record {other.id[:16]} is of the same code, data, seed and rules; name it in 'supersedes'"
    return None


def _superseded(record: RunRecord, known: Sequence[Entry]) -> RunRecord | None:
    return next((one.record for one in known if one.record.id == record.supersedes), None)


def _supersedes(record: RunRecord, known: Sequence[Entry]) -> str | None:
    if record.supersedes is None:
        return None
    earlier = _superseded(record, known)
    if earlier is None:
        return f"the record {record.supersedes[:16]} that it supersedes is not in the store"
    if run_key(earlier)[0] != run_key(record)[0] or earlier.task.spec != record.task.spec:
        return "it supersedes a record of another run"
    others = (one.record for one in known if _stands(one) and one.record.id != record.id)
    later = next((other.id for other in others if other.supersedes == earlier.id), None)
    return later and f"the record {earlier.id[:16]} is superseded already, by {later[:16]}; name that one"


def _name(record: RunRecord, known: Sequence[Entry]) -> str | None:
    """Refuse a name or title that readers would take for another one's, and a method or prelude of another package."""
    taken = {(r.method.name, r.method.title, r.method.distribution) for r in (one.record for one in known)}
    taken |= {(one.card.name, one.card.title, one.distribution) for one in catalogue.methods()}
    ours = record.method
    for name, title, distribution in sorted(taken):
        if name == ours.name and distribution != ours.distribution:
            return f"the name '{name}' belongs to the package {distribution}"
        if name != ours.name and skeleton(name) == skeleton(ours.name):
            return f"the name '{ours.name}' is easily taken for '{name}'"
        if name != ours.name and skeleton(title) == skeleton(ours.title):
            return f"the title '{ours.title}' is easily taken for that of '{name}'"
    return _prelude_name(record, known)


def _prelude_name(record: RunRecord, known: Sequence[Entry]) -> str | None:
    """Refuse a prelude's name that is another package's: rows tell preludes apart by their names alone."""
    taken = {(one.name, one.distribution) for entry in known for one in entry.record.method.preludes}
    taken |= {(one.card.name, one.distribution) for one in catalogue.preludes()}
    ours = {one.name: one.distribution for one in record.method.preludes}
    for name, distribution in sorted(taken):
        if ours.get(name, distribution) != distribution:
            return f"the name of the prelude '{name}' belongs to the package {distribution}"
    return None


def _owner(record: RunRecord, known: Sequence[Entry]) -> str | None:
    """Refuse to supersede another account's record, or to use the name of its method; dpib's are everybody's."""
    earlier, ours = _superseded(record, known), record.method
    if earlier is not None and earlier.who.account != record.who.account:
        return "it supersedes a record of another account"
    if ours.distribution == PLATFORM:
        return None
    owners = {one.record.who.account for one in known if _stands(one) and one.record.method.name == ours.name}
    if owners and record.who.account not in owners:
        return f"the name '{ours.name}' belongs to {', '.join(sorted(one or 'no account' for one in owners))}"
    return None


def _code(record: RunRecord, known: Sequence[Entry]) -> str | None:
    """Refuse a digest that no accepted record of this part of dpib has, nor the code that is installed here."""
    seen = {(part.name, part.source_digest) for one in known if one.valid for part in _ours(one.record)}
    for part in _ours(record):
        if (part.name, part.source_digest) not in seen and part.source_digest not in _installed_digests(part.name):
            return f"the code is not that of dpib's {part.name}; give your variant a name of its own"
    return None


def _ours(record: RunRecord) -> list[MethodBlock | PreludeBlock]:
    """Return the method and the preludes of a run, as far as dpib says that it brought them."""
    parts: list[MethodBlock | PreludeBlock] = [record.method, *record.method.preludes]
    return [part for part in parts if part.distribution == PLATFORM]


def _installed_digests(name: str) -> set[str]:
    parts: list[InstalledMethod | InstalledPrelude] = [*catalogue.methods(), *catalogue.preludes()]
    return {one.source_digest for one in parts if (one.card.name, one.distribution) == (name, PLATFORM)}


def _quota(record: RunRecord, known: Sequence[Entry], sent: int) -> str | None:
    account = record.who.account
    if account is None:
        return None
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    reviewed = sum(
        one.record.who.account == account and one.review is not None and one.review.since >= since for one in known
    )
    if max(reviewed, sent) >= limits.PER_ACCOUNT_PER_DAY:
        return f"{account} has sent {max(reviewed, sent)} records within a day, the quota; try again tomorrow (429)"
    return None
