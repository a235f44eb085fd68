"""Records: immutable, content-addressed, one schema that files and code agree on."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpib.errors import RecordError
from dpib.privacy.ledger import read_ledger_lines
from dpib.query import find_records
from dpib.records import RunRecord, Score, load_record, record_json_schema
from dpib.spec import canonical_json, sha256_text

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "submissions").glob("*/*/*/*/record.json"))


def test_exported_schema_is_the_one_the_code_uses() -> None:
    assert json.loads((ROOT / "submissions" / "record.schema.json").read_text()) == record_json_schema(), "make schema"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.parts[-5:-1]))
def test_every_published_record_loads_and_matches_the_schema(path: Path) -> None:
    record = load_record(path)
    jsonschema.validate(json.loads(path.read_text()), record_json_schema())
    assert path.parent.name == record.id[:16]
    spec = record.task.spec
    assert path.parts[-5:-2] == (spec.track, spec.dataset, spec.method)


def _any_record() -> RunRecord:
    assert RECORDS, "no record is published yet"
    return load_record(RECORDS[0])


def test_a_record_survives_the_round_trip(tmp_path: Path) -> None:
    record = _any_record()
    (tmp_path / "record.json").write_text(record.to_json())
    assert load_record(tmp_path / "record.json") == record


@given(st.data())
def test_any_edited_number_is_noticed(data: st.DataObject) -> None:
    plain = json.loads(_any_record().to_json())
    place, key = data.draw(st.sampled_from([(plain["privacy"], "target_epsilon"), (plain["privacy"], "delta")]))
    place[key] = data.draw(st.floats(1e-6, 1e-3).filter(lambda value: value != place[key]))
    edited = RunRecord.from_plain(plain)
    assert edited.content_digest != edited.id


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}', "[" * 100_000]
)
def test_what_is_no_record_is_refused_by_one_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(RecordError):
        load_record(path)


@pytest.mark.parametrize(("key", "value"), [("relation", "foo"), ("delta", -1.0), ("delta", 0.0), ("delta", 1.0)])
def test_a_guarantee_that_is_none_is_no_record(key: str, value: object, tmp_path: Path) -> None:
    plain = _any_record().to_plain()
    plain["privacy"][key] = value
    plain["id"] = sha256_text(canonical_json({name: block for name, block in plain.items() if name != "id"}))
    (tmp_path / "record.json").write_text(json.dumps(plain))
    with pytest.raises(RecordError, match=f"privacy.{key}"):
        load_record(tmp_path / "record.json")


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    record = _any_record()
    for name in ("good", "bad"):
        (tmp_path / "demo-v1" / "digits" / "uniform" / name).mkdir(parents=True)
    good, bad = (tmp_path / "demo-v1" / "digits" / "uniform" / name / "record.json" for name in ("good", "bad"))
    good.write_text(record.to_json())
    bad.mkdir()
    with pytest.warns(UserWarning, match=f"left out: {bad} cannot be read: Is a directory"):
        assert list(find_records(tmp_path)) == [(good, record)]
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        read_ledger_lines(bad)


def test_what_is_no_result_any_more_is_left_out(tmp_path: Path) -> None:
    earlier = _any_record()
    blocks = {name: getattr(earlier, name) for name in RunRecord.model_fields if name != "id"}
    later = RunRecord.build(**{**blocks, "supersedes": earlier.id})
    for name, record in (("earlier", earlier), ("later", later)):
        folder = tmp_path / "demo-v1" / "digits" / "uniform" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.to_json())
    assert [record for _, record in find_records(tmp_path)] == [later]
    review = {"record": later.id, "accepted": False}
    (tmp_path / "demo-v1" / "digits" / "uniform" / "later" / "review.json").write_text(json.dumps(review))
    assert [record for _, record in find_records(tmp_path)] == [earlier]
    unreadable = tmp_path / "demo-v1" / "digits" / "uniform" / "earlier" / "review.json"
    unreadable.mkdir()
    with pytest.warns(UserWarning, match=f"left out: {unreadable} cannot be read: Is a directory"):
        assert list(find_records(tmp_path)) == []


def test_a_score_is_told_by_metric_protocol_and_classifier() -> None:
    assert Score(metric="fd", value=1.0, higher_is_better=False).label == "fd"
    one = Score(metric="accuracy", value=1.0, higher_is_better=True, protocol="synv", classifier="wrn")
    assert one.label == "accuracy synv wrn"


def test_a_score_is_a_number_or_a_reason_never_nan() -> None:
    with pytest.raises(ValidationError):
        Score(metric="fd", value=None, higher_is_better=False)
    with pytest.raises(ValidationError):
        Score(metric="fd", value=1.0, reason="both", higher_is_better=False)
    with pytest.raises(ValidationError):
        Score(metric="fd", value=float("nan"), higher_is_better=False)
