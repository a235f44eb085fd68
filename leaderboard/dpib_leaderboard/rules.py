"""The rules a record is held to, one function each: it returns what it found in words, or raises RecordError.

Claims that ``dpib verify`` checks too are in ``dpib.claims``. None reads a pixel; those that compute are in
``recompute``.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dpib import catalogue, claims
from dpib.claims import require
from dpib.dataset_spec import DatasetSpec
from dpib.errors import DpibError, RecordError
from dpib.privacy.events import Gaussian
from dpib.privacy.ledger import Charge, parse_charges
from dpib.records import RunRecord
from dpib.spec import MethodCard, Track
from dpib_leaderboard import limits
from dpib_leaderboard.parsing import check_parquet_frame, check_png, parse_json, printable, text_problem, texts

BOUNDS = {
    "accuracy": (0.0, 100.0),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "coverage": (0.0, 1.0),
    "fld": (-1e9, 1e9),
    "fld-train": (-1e9, 1e9),
    "image-reward": (-100.0, 100.0),
}
"""Range of a metric's values; every other metric is a distance or a score in [0, 1e9]."""


def place_of(record: RunRecord) -> str:
    """Return the folder of a record in a results store."""
    spec = record.task.spec
    return f"{spec.track}/{spec.dataset}/{spec.method}/{record.id[:16]}"


def check_place(record: RunRecord, place: str) -> str:
    """The folder is the record's place in a store."""
    require(place == place_of(record), f"the folder is {printable(place, 200)}, expected {place_of(record)}")
    return place


def check_names(record: RunRecord) -> str:
    """Names agree and are names."""
    spec = record.task.spec
    require(record.method.name == spec.method, f"the record names {record.method.name} and {spec.method} as method")
    for name, text in (("title", record.method.title), ("account", record.who.account or "x")):
        require(text.strip() == text != "", f"the {name} is empty or padded")
    card = installed_card(record)
    require(card is None or record.method.title == card.title, f"the title is not that of dpib's {spec.method}")
    account = record.who.account or "x"
    require(account.isascii() and account.replace("-", "").replace("_", "").isalnum(), "the account is no Hub name")
    require(record.invalidated is None, "a submission cannot be invalidated already")
    return f"{record.method.name}, {record.method.title}"


def track_and_card(record: RunRecord) -> tuple[Track, DatasetSpec]:
    """Return the track and dataset a record names.

    Raises:
        DpibError: if there is no such track or dataset, or the one does not have the other.
    """
    spec = record.task.spec
    track, card = catalogue.track(spec.track), catalogue.dataset(spec.dataset)
    require(track.name == spec.track, f"no track {spec.track}")
    require(spec.dataset in track.datasets, f"track {track.name} does not have the dataset {spec.dataset}")
    return track, card


def check_track(record: RunRecord) -> str:
    """The rules of the track, and what a board asks beside: public data of the track, budget, references."""
    track, card = track_and_card(record)
    spec, privacy, synthetic = record.task.spec, record.privacy, record.synthetic
    public = spec.public_dataset
    require(public is None or public in track.public_datasets, f"track {track.name} does not have {public} as public")
    more = sorted(set(record.method.public_data) - {public})
    require(not more, f"track {track.name} does not have {', '.join(more)} as public data")
    claims.check_rules(record, track, card)
    spent = privacy.spent_epsilon
    require(spent is None or spent <= spec.epsilon * (1 + 1e-9), f"ε = {spent} was spent of {spec.epsilon:g}")
    require((synthetic.file, synthetic.grid) == (limits.IMAGES, "grid.png"), "files have other names than the store's")
    method = installed_card(record)
    if method is None or not method.reference:
        require(not record.method.reference, f"{record.method.name} is not a reference of this platform")
        require(spent is not None, "not private: only the platform's own references may be")
    return f"{track.name}, ε = {spec.epsilon:g}, {privacy.relation}"


def installed_card(record: RunRecord) -> MethodCard | None:
    """Return the card of the record's method if dpib itself brings it, else None."""
    try:
        method = catalogue.method(record.method.name)
    except DpibError:
        return None
    return method.card if record.method.distribution == method.distribution == "dpib" else None


def check_data(record: RunRecord) -> str:
    """The data is the card's."""
    return claims.check_data(record, track_and_card(record)[1])


def check_scores(record: RunRecord) -> str:
    """Every score is there once, in range. None of them is shown."""
    keys = [(score.metric, score.protocol, score.classifier) for score in record.scores]
    require(len(keys) == len(set(keys)), "a score is given twice")
    require(bool(keys) and len(keys) <= 500, f"{len(keys)} scores")
    for score in record.scores:
        low, high = BOUNDS.get(score.metric, (0.0, 1e9))
        for value in (score.value, score.stderr):
            require(value is None or low <= value <= high, f"{score.metric} = {value} is outside [{low:g}, {high:g}]")
        require(score.value is not None, f"{score.metric} has no value: {printable(score.reason or '', 100)}")
    require(record.status == "complete", "the record is not complete")
    return f"{len(keys)} scores, complete and in range (not shown: they are recomputed)"


def check_dates(record: RunRecord) -> str:
    """Dates and costs are possible."""
    try:
        created = datetime.fromisoformat(record.created)
    except ValueError as error:
        raise RecordError(f"created: {printable(record.created, 40)} is not a date") from error
    require(created.tzinfo is not None, "created: the time zone is missing")
    latest = datetime.now(UTC) + timedelta(seconds=limits.CLOCK_SKEW_SECONDS)
    require(created <= latest, f"created: {record.created} lies in the future")
    cost = record.cost
    costs = (*cost.seconds.values(), cost.total_seconds, cost.peak_memory_bytes, cost.peak_gpu_bytes or 0)
    require(all(0 <= one < 1e15 for one in costs), "a cost is negative or absurd")
    return record.created


def check_ledger(record: RunRecord, content: bytes) -> str:
    """The ledger is the record's, opened by these rules, and made of events that can be priced."""
    digest = hashlib.sha256(content).hexdigest()
    require(digest == record.privacy.ledger_digest, "the ledger is not the one of the record")
    rows = content.split(b"\n")
    require(rows[-1] == b"" and len(rows) <= limits.LEDGER_LINES, "the ledger is cut off or too long")
    lines = [parse_json(row, f"ledger.jsonl, line {number}") for number, row in enumerate(rows[:-1], start=1)]
    require(all(isinstance(line, dict) for line in lines), "a line of the ledger is not a JSON object")
    for line in lines:
        for place, text in texts(line):
            problem = text_problem(text)
            require(problem is None, f"the text at {printable(place, 80)} {problem}")
    charges, executed = parse_charges(lines)
    require(len(charges) <= limits.CHARGES, f"{len(charges)} charges")
    for charge in charges:
        check_charge(charge, executed.get(charge.id))
    claims.check_openings(record, lines)
    claims.check_selections(record, track_and_card(record)[0], charges)
    return f"{len(charges)} accesses, digest {digest[:12]}"


def check_charge(charge: Charge, executed: int | None) -> None:
    """Refuse an access that does not hold (``dpib.claims``), or of which the ledger reports no steps.

    Raises:
        DpibError: says which.
    """
    claims.check_charge(charge, executed)
    require(executed is not None or not isinstance(charge.event, Gaussian), f"{charge.id}: no steps are reported")


def check_grid(record: RunRecord, content: bytes) -> str:
    """The grid is a PNG of the size that this dataset gives."""
    channels, height, width = record.task.shape
    rows, scale = min(len(record.task.classes), 10), max(1, 40 // height)
    size = (10 * (width * scale + 2), rows * (height * scale + 2))
    check_png(content, size, channels, "grid.png")
    return f"{size[0]}x{size[1]}"


def check_images(record: RunRecord, path: Path | None) -> str:
    """The images are here, or the record says why not; the size is one that so many images can have."""
    withheld = record.synthetic.withheld
    if path is None:
        require(bool(withheld), f"{limits.IMAGES} is missing and the record does not say why it is withheld")
        return f"withheld: {withheld}"
    require(withheld is None, "the images are here, though the record says they are withheld")
    most = limits.images_bytes(record.synthetic.count, record.task.shape)
    size = path.lstat().st_size
    require(size <= most, f"{limits.IMAGES} has {size} bytes, at most {most}")
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(size - 8, 0))
        check_parquet_frame(head + file.read(8), size, limits.IMAGES)
    return f"{size} bytes"
