"""Ours beside the paper's: the numbers it finds, the verdicts it gives, and a page that needs no other file."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dpib.cli.main import app
from dpib.comparison import judge, kendall
from dpib.grids.grid import Finding, Selection, read_grid
from dpib.job import make_spec
from dpib.paper import beside
from dpib_leaderboard.plots import Series, plot
from dpib_leaderboard.report import write_report

ROOT = Path(__file__).parents[2]
ACCURACY = "accuracy[noisy-senv]"


def test_the_papers_number_is_that_of_the_very_setting() -> None:
    plain = make_spec("dp-merf", "mnist", 1.0, "lite")
    assert beside(plain)[ACCURACY] == 80.3
    assert beside(plain, "VIII")[ACCURACY] == 80.3
    shortcut = make_spec("dp-merf", "fashion-mnist", 10.0, "lite", preludes=("central-images",))
    assert beside(shortcut, "XIV")[ACCURACY] == 57.7
    assert beside(shortcut) == {}
    chosen = make_spec("dp-merf", "cifar10-jpeg75", 10.0, "lite", public="tiny-imagenet-32:5%")
    assert beside(chosen, "XIII")[ACCURACY] == 22.1
    pretrained = make_spec("dp-merf", "mnist", 1.0, "lite", public="tiny-imagenet-32")
    assert beside(pretrained) == {}, "the table's DP-MERF saw no public images"
    assert beside(make_spec("real", "mnist", 1.0, "lite"))[ACCURACY] == 99.7
    assert beside(make_spec("dp-means", "mnist", 1.0, "lite")) == {}


def _table(**means: tuple[float, int]) -> pd.DataFrame:
    rows = [
        {
            "dataset": "d",
            "epsilon": 1.0,
            "method": name,
            "mean": mean,
            "stderr": 1.0,
            "freedom": np.inf,
            "seeds": seeds,
            "tuned": False,
        }
        for name, (mean, seeds) in means.items()
    ]
    return pd.DataFrame(rows).assign(reference=False)


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (_table(a=(80.0, 3), b=(70.0, 3)), "holds"),
        (_table(a=(70.0, 3), b=(80.0, 3)), "does not hold"),
        (_table(a=(70.0, 3), b=(71.0, 3)), "cannot be told"),
        (_table(a=(80.0, 3), b=(70.0, 2)), "cannot be told"),
        (_table(a=(80.0, 3)), "cannot be told"),
    ],
)
def test_a_finding_is_judged_by_the_stated_rule(table: pd.DataFrame, verdict: str) -> None:
    finding = Finding(text="a is better", better=Selection(method=("a",)), than=Selection(method=("b",)))
    assert judge(finding, table).verdict == verdict


def test_cells_with_too_few_seeds_do_not_count_where_others_have_enough() -> None:
    finding = Finding(text="a is better", better=Selection(method=("a",)), than=Selection(method=("b",)))
    enough, few = _table(a=(80.0, 3), b=(70.0, 3)), _table(a=(10.0, 3), b=(70.0, 1)).assign(dataset="e")
    judged = judge(finding, pd.concat([enough, few]))
    assert (judged.verdict, judged.difference, judged.cells) == ("holds", 10.0, 1)


@pytest.mark.parametrize(
    ("rivals", "verdict", "difference"),
    [
        ({"b": (70.0, 3), "c": (10.0, 3)}, "holds", 10.0),
        ({"b": (90.0, 3), "c": (10.0, 3)}, "does not hold", -10.0),
        ({"b": (81.0, 3), "c": (10.0, 3)}, "cannot be told", -1.0),
        ({"b": (83.0, 3), "c": (10.0, 3)}, "cannot be told", -3.0),  # 2.77 would do for one pair, not for two
        ({"b": (70.0, 1), "c": (10.0, 3)}, "cannot be told", 10.0),
    ],
)
def test_the_best_is_better_than_each_and_not_than_their_mean(rivals: dict, verdict: str, difference: float) -> None:
    finding = Finding(
        text="a is the best", better=Selection(method=("a",)), than=Selection(method=("b", "c")), every=True
    )
    judged = judge(finding, _table(a=(80.0, 3), **rivals))
    assert (judged.verdict, judged.difference) == (verdict, difference)
    assert judged.why.endswith("a less b"), "the strongest rival"


def test_a_method_that_is_named_and_has_no_record_leaves_a_finding_open() -> None:
    for every in (False, True):
        finding = Finding(
            text="a is the best", better=Selection(method=("a",)), than=Selection(method=("b", "absent")), every=every
        )
        judged = judge(finding, _table(a=(80.0, 3), b=(70.0, 3)))
        assert judged.verdict == "cannot be told" and "fewer than 3 seeds" in judged.why


def test_kendall_counts_methods_of_both_sides_only() -> None:
    table = _table(a=(1.0, 3), b=(2.0, 3), c=(3.0, 3), d=(4.0, 3)).assign(paper=[10.0, 30.0, 20.0, float("nan")])
    (cell,) = kendall(table)
    assert cell.methods == 3 and cell.tau == pytest.approx(1 / 3)


def test_the_report_of_shipped_records_stands_alone(tmp_path: Path) -> None:
    judged = write_report(read_grid(ROOT / "experiments/lite/utility.toml"), [ROOT / "submissions"], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "80.3" in page and "dp-merf" in page and len(judged) == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = list(tmp_path.glob("*.svg"))
    shipped = list((ROOT / "submissions" / "lite-v1").iterdir())
    assert len(pictures) == 2 * len(shipped), "utility and cost of every dataset that has records"
    for picture in pictures:
        ET.fromstring(picture.read_text())


def test_names_from_records_are_text_in_pictures() -> None:
    ET.fromstring(plot("<b>&", "ε", "%", [Series("<script>", [(1.0, 50.0, 0.0)])]))


def test_results_against_the_paper_exports() -> None:
    arguments = ["results", "--runs", str(ROOT / "submissions"), "--against", "paper", "--dataset", "mnist"]
    call = CliRunner().invoke
    rows = json.loads(call(app, [*arguments, "--json"]).stdout)
    plain = [row for row in rows if row["method"] == "dp-merf" and row["public"] == "none"]
    assert {row[f"paper:{ACCURACY}"] for row in plain} == {80.3, 81.3}
    assert "80.3" in call(app, [*arguments, "--latex"]).stdout
    assert "80.3" in call(app, arguments).stdout
    assert call(app, [*arguments, "--table", "nonsense"]).exit_code == 2
