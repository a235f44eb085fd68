"""Ours beside the paper's: the numbers it finds, the verdicts it gives, and a page that needs no other file."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from dpib.cli.main import app
from dpib.comparison import against_method, judge, kendall
from dpib.errors import ConfigError
from dpib.grids.grid import Finding, Selection, read_grid
from dpib.job import make_spec
from dpib.paper import beside, put_beside
from dpib.query import KEYS, columns_of, find_records, name_of, records_of, results, score_columns
from dpib_leaderboard.report import tables
from dpib_leaderboard.report.figures import pareto, pictures
from dpib_leaderboard.report.page import _timed_on_one, write_report
from dpib_leaderboard.report.records import records_shown

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
    pretrained = make_spec("pdp-diffusion", "mnist", 10.0, "lite", public="omniglot-28")
    assert beside(pretrained, "XIII")[ACCURACY] == 97.4
    both = {"public": "tiny-imagenet-32", "preludes": ("central-images",)}
    assert beside(make_spec("pdp-diffusion", "fashion-mnist", 10.0, "lite", **both), "XIV")[ACCURACY] == 85.0
    share = make_spec("pdp-diffusion", "mnist", 10.0, "lite", public="omniglot-28:5%")
    assert beside(share, "XIII") == {}, "the paper's saw all public images"
    everything = beside(make_spec("dp-merf", "mnist", 10.0, "lite"), "VIII")
    assert everything["fid"] == 106.3 and everything["accuracy[synv]"] == 79.2, "other tables of the same runs"
    assert beside(make_spec("real", "mnist", 1.0, "lite"))[ACCURACY] == 99.7
    assert beside(make_spec("dp-means", "mnist", 1.0, "lite")) == {}
    places = make_spec("pdp-diffusion", "cifar10", 10.0, "paper", public="places365-32")
    assert beside(places) == {}, "the paper's saw ImageNet"
    photographs = make_spec("pdp-diffusion", "cifar10-jpeg75", 10.0, "lite", public="omniglot-28")
    assert beside(photographs) == {}, "drawings take the place of ImageNet for digits and garments only"
    ways = [
        make_spec("dp-merf", "cifar10", 10.0, "paper", 0, "imagenet-32", way)
        for way in ("conditional", "unconditional")
    ]
    assert [beside(way, "XIII").get(ACCURACY) for way in ways] == [26.1, None], "the paper's is conditional"
    figure = make_spec("pe", "fashion-mnist", 0.2, "paper")
    assert {ACCURACY, "fid", "fld"} <= set(beside(figure, "Fig. 5"))


def _table(**means: tuple[float, int]) -> pd.DataFrame:
    rows = [
        {
            "track": "t",
            "dataset": "d",
            "epsilon": 1.0,
            "method": name,
            "mean": mean,
            "stderr": 1.0,
            "freedom": np.inf,
            "source": name,
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


def test_a_certain_tie_with_the_best_is_no_win() -> None:
    """Three seeds of 100 % each: no interval, and nothing to tell."""
    for rivals in ({"b": (100.0, 3)}, {"b": (100.0, 3), "c": (10.0, 3)}):
        better, than = Selection(method=("a",)), Selection(method=tuple(rivals))
        table = _table(a=(100.0, 3), **rivals).assign(stderr=0.0)
        judged = judge(Finding(text="a is the best", better=better, than=than, every=True), table)
        assert (judged.verdict, judged.difference) == ("cannot be told", 0.0)


def test_a_finding_names_methods_on_both_sides_or_on_neither() -> None:
    """Else references and the method itself were among what it is compared with."""
    with pytest.raises(ValidationError, match="'method' in both"):
        Finding(text="a", better=Selection(method=("a",)), than=Selection(public=("none",)))


def test_a_method_that_is_named_and_has_no_record_leaves_a_finding_open() -> None:
    for every in (False, True):
        finding = Finding(
            text="a is the best", better=Selection(method=("a",)), than=Selection(method=("b", "absent")), every=every
        )
        judged = judge(finding, _table(a=(80.0, 3), b=(70.0, 3)))
        assert judged.verdict == "cannot be told" and "fewer than 3 seeds" in judged.why


def _settings(**means: tuple[float, float]) -> pd.DataFrame:
    """Return methods, each with pretraining and without."""
    sides = [_table(**{name: (pair[side], 3) for name, pair in means.items()}) for side in range(2)]
    return pd.concat([side.assign(pretrain=name) for side, name in zip(sides, ("conditional", "none"), strict=True)])


def test_a_finding_about_all_methods_compares_each_private_one_with_itself() -> None:
    finding = Finding(text="it helps", better=Selection(pretrain=("conditional",)), than=Selection(pretrain=("none",)))
    both = _settings(a=(25.0, 25.0), b=(30.0, 30.0))
    alone = _table(c=(78.0, 3)).assign(pretrain="conditional")
    ceiling = _settings(real=(99.0, 20.0)).assign(reference=True)
    judged = judge(finding, pd.concat([both, alone, ceiling]))
    assert (judged.verdict, judged.difference, judged.cells) == ("cannot be told", 0.0, 1)


def test_configurations_of_a_method_count_as_one() -> None:
    finding = Finding(text="it helps", better=Selection(pretrain=("conditional",)), than=Selection(pretrain=("none",)))
    plain = _settings(a=(90.0, 90.0), b=(30.0, 30.0)).assign(preludes="")
    again = _table(a=(90.0, 3)).assign(pretrain="conditional", preludes="central-images")
    judged = judge(finding, pd.concat([plain, again]))
    assert (judged.verdict, judged.difference) == ("cannot be told", 0.0)
    named = Finding(
        text="it helps both",
        better=Selection(method=("a", "b"), pretrain=("conditional",)),
        than=Selection(method=("a", "b"), pretrain=("none",)),
    )
    assert judge(named, pd.concat([plain, again])).difference == 0.0


def test_a_method_with_too_few_seeds_is_left_out_where_none_is_named() -> None:
    finding = Finding(text="it helps", better=Selection(pretrain=("conditional",)), than=Selection(pretrain=("none",)))
    table = _settings(a=(40.0, 25.0), b=(10.0, 30.0))
    one_short = table.assign(seeds=table["seeds"].where((table["method"] == "a") | (table["pretrain"] == "none"), 2))
    judged = judge(finding, one_short)
    assert (judged.verdict, judged.difference, judged.cells) == ("holds", 15.0, 1)
    assert judged.why == "without b where seeds are fewer than 3"
    assert judge(finding, table.assign(seeds=2)).why == "every method has fewer than 3 seeds"
    every = judge(finding.model_copy(update={"every": True}), table)
    assert (every.verdict, every.difference, every.why) == ("does not hold", -20.0, "b")


def test_tracks_are_cells_of_their_own() -> None:
    papers = {"paper": [10.0, 20.0, 30.0]}
    lite = _table(a=(1.0, 3), b=(2.0, 3), c=(3.0, 3)).assign(track="lite-v1", **papers)
    full = _table(a=(50.0, 3), b=(60.0, 3), c=(70.0, 3)).assign(track="paper-v1", **papers)
    table = pd.concat([lite, full])
    assert [(one.track, one.tau) for one in kendall(table)] == [("lite-v1", 1.0), ("paper-v1", 1.0)]
    finding = Finding(text="a is better", better=Selection(method=("a",)), than=Selection(method=("b",)))
    assert judge(finding, table).cells == 2


def test_a_run_with_two_preludes_is_found_and_stands_beside_the_paper(tmp_path: Path) -> None:
    frame = results(ROOT / "submissions", dataset="mnist", method="dp-merf", epsilon=10.0).head(1)
    grid = tmp_path / "grid.toml"
    grid.write_text(
        '[[runs]]\nmethods = "dp-merf"\ndatasets = "mnist"\nepsilons = 10\npublic = "omniglot-28"\n'
        'preludes = "select-public+central-images"\n'
    )
    (unit,) = read_grid(grid).units
    both = frame.assign(**columns_of(unit.spec))
    assert len(records_of([unit.spec], both)) == 1
    assert not put_beside(both)["copy_of_data"].any()
    assert name_of(next(both.itertuples())) == "dp-merf + select-public + central-images +omniglot-28"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.toml")), ids=lambda path: path.stem)
def test_the_papers_own_numbers_contradict_no_finding_that_is_called_the_papers(path: Path) -> None:
    grid = read_grid(path)
    rows = [{**columns_of(unit.spec), "tuned": bool(unit.spec.overrides)} for unit in grid.units]
    frame = put_beside(pd.DataFrame(rows), grid.paper).reindex(columns=[*KEYS, f"paper:{ACCURACY}"])
    table = frame.rename(columns={f"paper:{ACCURACY}": "mean"}).dropna().drop_duplicates()
    table = table.assign(stderr=0.0, freedom=np.inf, source="", seeds=3, reference=table["method"] == "real")
    for finding in grid.findings:
        if not finding.text.startswith("Not in the paper"):
            assert judge(finding, table).verdict != "does not hold", finding.text


def test_kendall_counts_configurations_of_three_methods_at_least() -> None:
    table = _table(a=(1.0, 3), b=(2.0, 3), c=(3.0, 3)).assign(paper=[10.0, 20.0, 30.0])
    again = _table(a=(4.0, 3), b=(5.0, 3)).assign(paper=[40.0, 50.0], preludes="central-images")
    (cell,) = kendall(pd.concat([table, again]))
    assert cell.configurations == 5 and cell.tau == pytest.approx(1)
    assert not [*kendall(pd.concat([table.head(2), again]))], "two methods, each twice"


def test_kendall_counts_what_both_sides_have() -> None:
    table = _table(a=(1.0, 3), b=(2.0, 3), c=(3.0, 3), d=(4.0, 3)).assign(paper=[10.0, 30.0, 20.0, float("nan")])
    (cell,) = kendall(table)
    assert cell.configurations == 3 and cell.tau == pytest.approx(1 / 3)


def test_the_report_of_shipped_records_stands_alone(tmp_path: Path) -> None:
    judged = write_report(read_grid(ROOT / "experiments/lite/utility.toml"), [ROOT / "submissions"], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "80.3" in page and "dp-merf" in page and len(judged) == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = sorted(path.name for path in tmp_path.glob("*.pdf"))
    cells = [(path.parent.name, path.name) for path in (ROOT / "submissions").glob("*/*")]
    for track, dataset in cells:
        assert f"utility-{track}-{dataset}-10.pdf" in pictures and f"cost-{track}-{dataset}-10.pdf" in pictures
    assert "curves-lite-v1-mnist.pdf" in pictures and "curves-lite-v1-cifar10-jpeg75.pdf" not in pictures
    assert all((tmp_path / name).read_bytes().startswith(b"%PDF") for name in pictures)


def test_the_time_of_runs_that_were_made_elsewhere_is_left_out(tmp_path: Path) -> None:
    folders = sorted((ROOT / "submissions/lite-v1/mnist/dp-merf").iterdir())[:3]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "store/lite-v1/mnist/dp-merf" / folder.name)
    frame = results(tmp_path / "store")
    frame.loc[0, ["hardware", "minutes"]] = "a fast GPU", 0.1
    kept, told = _timed_on_one(frame)
    assert kept["minutes"].isna().tolist() == [True, False, False] and kept["peak_gib"].isna()[0]
    assert kept["accuracy[noisy-senv]"].notna().all()
    assert "Left out of them, and only of them, are the runs on a fast GPU (1)." in told
    assert "Left out" not in _timed_on_one(frame[1:])[1]


def test_a_damaged_grid_of_samples_is_left_out_with_a_warning(tmp_path: Path) -> None:
    place = "lite-v1/mnist/dp-merf"
    shipped = results(ROOT / "submissions", dataset="mnist", epsilon=10.0).query(
        "method == 'dp-merf' and public == 'none'"
    )
    folder = Path(shipped.iloc[0]["path"])
    copy = tmp_path / "store" / place / folder.name
    shutil.copytree(folder, copy)
    (copy / "grid.png").write_bytes((copy / "grid.png").read_bytes()[:500])
    with pytest.warns(UserWarning, match="left out: .*grid.png"):
        write_report(read_grid(ROOT / "experiments/lite/utility.toml"), [copy.parents[3]], tmp_path)
    assert "<figure>" not in (tmp_path / "index.html").read_text()


def test_a_report_shows_what_reviews_recomputed_and_leaves_out_what_they_refused(tmp_path: Path) -> None:
    store, runs = tmp_path / "store", tmp_path / "runs"
    place = "lite-v1/mnist/dp-merf"
    shipped = results(ROOT / "submissions", dataset="mnist", method="dp-merf", epsilon=10.0)
    first, second, third = (Path(path) for path in shipped["path"][:3])
    for folder in (first, second):
        shutil.copytree(folder, store / place / folder.name)
    for folder in (first, third):
        shutil.copytree(folder, runs / place / folder.name, ignore=lambda *_: ["review.json"])
    reviews = [store / place / folder.name / "review.json" for folder in (first, second)]
    plain = [json.loads(path.read_text()) for path in reviews]
    plain[0]["scores"] = [
        {**one, "value": 12.5} if one["protocol"] == "noisy-senv" else one for one in plain[0]["scores"]
    ]
    plain[1]["accepted"] = False
    for path, content in zip(reviews, plain, strict=True):
        path.write_text(json.dumps(content))
    shown = records_shown([runs, store])
    assert shown.set_index("path")[ACCURACY].to_dict() == {
        str(store / place / first.name): 12.5,
        str(runs / place / third.name): shipped[ACCURACY].iloc[2],
    }


def _shipped(grid: str) -> pd.DataFrame:
    return put_beside(results(ROOT / "submissions", dataset="mnist", epsilon=10.0), read_grid(ROOT / grid).paper)


def test_every_score_and_cost_stands_beside_the_papers() -> None:
    frame = _shipped("experiments/lite/fidelity.toml")
    found = tables.metrics(frame)
    (row,) = (row for row in found.rows if row[3] == "dp-merf")
    scores = dict(zip(found.columns, row, strict=True))
    assert scores["fid"] == "(106.3)" and re.fullmatch(r"0\.\d+ \(0\.03\)", scores["precision"])
    assert re.fullmatch(r"\d+", scores["fd-effnet"]), "the paper has no such distance"

    costly = frame.query("method == 'privimage'").assign(**{"paper:hours[pretrain]": 12.0, "paper:memory-gb": 40.0})
    costs = dict(zip(tables.resources(costly).columns, tables.resources(costly).rows[0], strict=True))
    assert re.fullmatch(r"0\.\d\d\d \(12\)", costs["pretraining, h"]) and float(costs["learning, h"]) > 0
    assert costs["GPU memory, GiB"] == "(40)" and float(costs["memory, GiB"]) > 1, "the paper's is that of GPUs"


def test_phases_are_within_the_whole_and_scores_are_told_from_facts() -> None:
    frame = results(ROOT / "submissions")
    assert set(score_columns(frame)) == {
        *(f"accuracy[{protocol}]" for protocol in ("noisy-senv", "synv", "senv", "testfix")),
        *("fd-effnet", "precision", "recall"),
    }
    phases = frame[["pretrain_minutes", "learn_minutes", "generate_minutes"]]
    assert (phases >= 0).all(axis=None) and (phases.sum(axis=1) < frame["minutes"]).all()
    costs = dict(zip(frame["id"], frame["pretrain_minutes"], strict=True))
    for _, record in find_records(ROOT / "submissions"):
        if record.task.spec.method == "privimage":
            seconds = record.cost.seconds
            made = seconds.get("train selector", 0.0) + seconds["pretrain denoiser"]
            assert costs[record.id] == pytest.approx(made / 60, abs=1e-3), "the classifier, then what it selected"


def test_one_cell_is_enough_for_the_win_matrix_of_a_report() -> None:
    table = _table(a=(90.0, 3), b=(50.0, 3), c=(10.0, 3)).assign(
        track="t", epsilon=1.0, variant="", public="none", pretrain="none", preludes="", overrides="", ranked=True
    )
    table = table.assign(rank_best=[1, 2, 3], rank_worst=[1, 2, 3])
    ((track, matrix),) = tables.wins(table)
    assert track == "t"
    assert matrix.rows == [("a", "", "1/1", "1/1"), ("b", "0/1", "", "1/1"), ("c", "0/1", "0/1", "")]


def test_the_win_matrix_goes_by_intervals_of_differences_and_lists_everybody() -> None:
    crowd = {f"m{number:02}": (50.0, 3) for number in range(12)}
    table = _table(a=(90.0, 3), b=(88.0, 3), c=(87.0, 3), **crowd).assign(
        variant="", public="none", pretrain="none", preludes="", overrides="", ranked=True
    )
    ((_, matrix),) = tables.wins(table)
    assert len(matrix.rows) == 15
    wins = {row[0]: dict(zip(matrix.columns[1:], row[1:], strict=True)) for row in matrix.rows}
    assert wins["a"]["c"] == "1/1", "3 > 1.96 √2, though the ranks are 1-2 and 2-3"
    assert wins["a"]["b"] == wins["b"]["c"] == wins["c"]["a"] == wins["m01"]["m02"] == "0/1"


def test_the_pareto_front_leaves_out_what_is_slower_and_worse() -> None:
    cell = pd.DataFrame({"minutes": [3.0, 1.0, 2.0, 3.0, 9.0], "mean": [80.0, 50.0, 40.0, 85.0, 85.0]})
    assert pareto(cell).index.tolist() == [1, 3]


def test_pictures_are_the_same_bytes_each_time_and_names_in_them_are_text() -> None:
    table = _table(a=(90.0, 3), b=(50.0, 1)).assign(
        track="t", dataset="<b>&$x$", paper=[95.0, np.nan], minutes=[1.0, 2.0], spent_epsilon=1.0, ranked=[True, False]
    )
    table = table.assign(low=table["mean"] - 1, high=table["mean"] + 1)
    table = pd.concat([table, table.assign(epsilon=10.0)], ignore_index=True)
    labels = pd.Series(["<script>", "b", "<script>", "b"])
    first, again = (list(pictures(table, labels)) for _ in range(2))
    assert first == again and [picture.name.partition("-")[0] for picture in first] == [
        *("curves", "utility", "cost", "utility", "cost")
    ]
    for picture in first:
        words = "".join(ET.fromstring(picture.svg).itertext())
        assert "<b>&$x$" in words and "<script>" in words


def test_pictures_end_where_no_accuracy_can_be() -> None:
    table = _table(a=(5.0, 3), b=(97.0, 3)).assign(
        track="t", dataset="d", paper=np.nan, minutes=[1.0, 2.0], spent_epsilon=1.0, ranked=True
    )
    table = table.assign(low=table["mean"] - 40, high=table["mean"] + 40)
    table = pd.concat([table, table.assign(epsilon=10.0)], ignore_index=True)
    for picture in pictures(table, pd.Series(["a", "b", "a", "b"])):
        words = [word.strip().replace("\N{MINUS SIGN}", "-") for word in ET.fromstring(picture.svg).itertext()]
        numbers = [float(word) for word in words if re.fullmatch(r"-?\d+", word)]
        assert len(numbers) >= 4 and min(numbers) >= 0 and max(numbers) <= 100


def test_results_against_a_method_tell_who_is_better_and_by_how_much() -> None:
    frame = results(ROOT / "submissions")
    table = against_method(frame, "dp-merf", known=frame)
    assert "dp-merf" not in set(table["label"]) and "dp-merf +omniglot-28" in set(table["label"])
    cell = table.query("dataset == 'mnist' and epsilon == 10").set_index("label")
    assert cell.loc["pe", "verdict"] == "better" and cell.loc["dp-means", "verdict"] == "worse"
    once = against_method(frame[(frame["method"] != "dp-means") | (frame["seed"] == 0)], "dp-merf", known=frame)
    lonely = once.query("dataset == 'mnist' and epsilon == 10 and method == 'dp-means'")
    assert lonely["verdict"].tolist() == ["fewer than 3 seeds"]
    reverse = against_method(frame, "pe", known=frame).query("dataset == 'mnist' and epsilon == 10").set_index("label")
    assert reverse.loc["dp-merf", "difference"] == pytest.approx(-cell.loc["pe", "difference"])
    assert reverse.loc["dp-merf", "interval"] == pytest.approx(cell.loc["pe", "interval"])
    with pytest.raises(ConfigError, match="dp-merf, "):
        against_method(frame, "dpmerf")

    arguments = ["results", "--runs", str(ROOT / "submissions"), "--dataset", "mnist", "--against", "dp-merf"]
    call = CliRunner().invoke
    shown = call(app, arguments).stdout
    assert "less dp-merf" in shown and "better" in shown
    rows = json.loads(call(app, [*arguments, "--json"]).stdout)
    assert {row["verdict"] for row in rows} >= {"better", "worse", "fewer than 3 seeds"}
    assert "verdict" in call(app, [*arguments, "--latex"]).stdout


def test_first_runs_without_repetitions_are_compared_as_json(tmp_path: Path) -> None:
    shipped = results(ROOT / "submissions", dataset="cifar10-jpeg75", epsilon=10.0)
    plain = shipped.query("variant == '' and preludes == '' and not tuned")
    for method, public in (("dp-merf", "none"), ("privimage", "tiny-imagenet-32")):
        mine = plain[(plain["method"] == method) & (plain["public"] == public)]
        folder = Path(mine.iloc[0]["path"])
        shutil.copytree(folder, tmp_path / folder.relative_to(ROOT / "submissions"))
    arguments = ["results", "--runs", str(tmp_path), "--against", "dp-merf", "--json"]
    (row,) = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert row["freedom"] is None and row["verdict"] == "fewer than 3 seeds"


def test_results_against_the_paper_exports() -> None:
    arguments = ["results", "--runs", str(ROOT / "submissions"), "--against", "paper", "--dataset", "mnist"]
    call = CliRunner().invoke
    rows = json.loads(call(app, [*arguments, "--json"]).stdout)
    plain = [row for row in rows if row["method"] == "dp-merf" and row["public"] == "none"]
    assert {row[f"paper:{ACCURACY}"] for row in plain} == {80.3, 81.3}
    assert "80.3" in call(app, [*arguments, "--latex"]).stdout
    assert "80.3" in call(app, arguments).stdout
    assert call(app, [*arguments, "--table", "nonsense"]).exit_code == 2
