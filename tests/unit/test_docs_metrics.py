"""The snippet of ``docs/metrics.md`` that compares protocols runs, and does what its text says."""

from __future__ import annotations

import importlib
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def test_the_snippet_on_senv_runs_and_means_over_seeds_then_pairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [snippet] = re.findall(r"```python\n(import dpib\n.*?)```", (ROOT / "docs/metrics.md").read_text(), re.DOTALL)
    space: dict[str, object] = {}
    exec(snippet, space)
    assert "synv" in capsys.readouterr().out
    found = defaultdict(list)
    records = [json.loads(path.read_text()) for path in ROOT.glob("submissions/lite-v1/*/*/*/record.json")]
    superseded = {record["supersedes"] for record in records}
    for record in records:
        if record["privacy"]["assurance"] == "mechanism" and record["id"] not in superseded:
            spec = record["task"]["spec"]
            value = {one["protocol"]: one["value"] for one in record["scores"] if one["metric"] == "accuracy"}
            pair = (spec["epsilon"], spec["dataset"], spec["method"])
            found[pair].append([value["senv"] - value[other] for other in ("noisy-senv", "synv", "testfix")])
    table = space["pairs"]
    assert len(table) == len(found) >= 10
    monkeypatch.syspath_prepend(ROOT / "docs/_ext")
    _compare_with_page(importlib.import_module("scores").selection_gaps(), table)
    for pair, gaps in found.items():
        assert table.loc[pair].tolist() == pytest.approx([mean(column) for column in zip(*gaps, strict=True)])


def _compare_with_page(written: str, pairs: pd.DataFrame) -> None:
    """The page's table has the pairs of the snippet; a review's scores may differ by rounding (decisions/0019)."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in written.splitlines()[2:]]
    names = {"SenV - Noisy SenV": "noisy-senv", "SenV - SynV": "synv", "SenV - TestFix": "testfix"}
    assert len(rows) == len(names) * pairs.index.get_level_values("epsilon").nunique()
    for name, epsilon, *numbers, count in rows:
        ours = pairs.xs(float(epsilon), level="epsilon")[names[name]]
        assert int(count) == len(ours)
        assert [float(number) for number in numbers] == pytest.approx([ours.mean(), ours.std(), ours.max()], abs=0.5)
