"""The report of one experiment: a page that needs no other file, and its pictures. Imports no torch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dpib.comparison import RULE, Judged, against_paper, judge, kendall
from dpib.files import write_text_atomically
from dpib.grids.grid import Grid
from dpib.paper import REMARK, put_beside
from dpib.query import KEYS, results
from dpib_leaderboard.plots import Series, plot
from dpib_leaderboard.wins import win_matrices

_STYLE = """body{font:14px/1.5 Helvetica,Arial,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#111}
table{border-collapse:collapse;margin:1em 0}td,th{padding:2px 10px;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right}figure{display:inline-block;margin:4px;break-inside:avoid}figcaption{font-size:12px}
figure img{width:300px;image-rendering:pixelated}@media print{body{margin:0}h2{break-after:avoid}}"""


def records_of(grid: Grid, folders: Iterable[Path]) -> pd.DataFrame:
    """Return the records of a grid's runs, as ``dpib.results`` does; the newest where a run was recorded twice."""
    frames = [frame for folder in folders if len(frame := results(folder))]
    if not frames:
        return pd.DataFrame()
    wanted = pd.DataFrame({(*_spec_key(unit.spec.model_dump()),) for unit in grid.units}, columns=[*_SPEC])
    frame = pd.concat(frames).drop_duplicates("id")
    return frame.merge(wanted, on=[*_SPEC]).sort_values("created").drop_duplicates([*KEYS, "seed"], keep="last")


_SPEC = ("track", "dataset", "epsilon", "method", "variant", "public", "pretrain", "preludes", "overrides", "seed")


def _spec_key(spec: dict[str, Any]) -> Iterator[Any]:
    from dpib.spec import canonical_json

    for name in _SPEC:
        value = spec[name]
        if name == "preludes":
            value = "+".join(value)
        elif name == "overrides":
            value = canonical_json(dict(value)) if value else ""
        yield "" if value is None else value


def _label(row: Any) -> str:
    extras = (row.variant, "" if row.public == "none" else f"+{row.public}", row.preludes, row.overrides)
    unconditional = "unconditional" if row.pretrain == "unconditional" else ""
    return " ".join(filter(None, (row.method, *extras, unconditional)))


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def pictures(table: pd.DataFrame) -> dict[str, str]:
    """Return the plots of an experiment by file name.

    Args:
        table: of ``against_paper``.
    """
    made = {}
    for (track, dataset), part in table.groupby(["track", "dataset"]):
        part = part.assign(label=[_label(row) for row in part.itertuples()])
        curves, costs = [], []
        for label, rows in part.sort_values("epsilon").groupby("label", sort=False):
            reference = bool(rows["reference"].any())
            points = [(row.epsilon, row.mean, row.high - row.mean) for row in rows.itertuples()]
            curves.append(Series(str(label), points, dashed=reference))
            spots = [(max(row.minutes / 60, 1e-4), row.mean, row.high - row.mean) for row in rows.itertuples()]
            costs.append(Series(str(label), sorted(spots), dashed=reference, joined=False))
            published = [(row.epsilon, row.paper, 0.0) for row in rows.itertuples() if row.paper == row.paper]
            if published and not reference:
                curves.append(Series(f"{label}, paper", published, dashed=True, group=str(label)))
        accuracy = "Accuracy (%), Noisy SenV"
        made[f"utility-{track}-{dataset}.svg"] = plot(f"{dataset}: utility and privacy", "ε", accuracy, curves)
        made[f"cost-{track}-{dataset}.svg"] = plot(f"{dataset}: utility and hours", "hours per run", accuracy, costs)
    return made


def _findings(judged: list[Judged]) -> str:
    rows = []
    for one in judged:
        cells = "one cell" if one.cells == 1 else f"{one.cells} cells"
        numbers = "" if one.difference is None else f"{one.difference:+.1f} ± {one.interval:.1f} over {cells}"
        told = one.verdict + (f" ({one.why})" if one.why else "")
        rows.append((one.finding.text, one.finding.source, told, numbers, one.finding.remark))
    return _table(("finding", "source", "at this budget", "difference, points", "remark"), rows)


def _wins(table: pd.DataFrame) -> str:
    rows = table.assign(variant=[_label(row).removeprefix(row.method).strip() for row in table.itertuples()])
    parts = []
    for track, matrix in win_matrices(rows.to_dict(orient="records")).items():
        names = [" ".join(filter(None, (one["method"], one["variant"]))) for one in matrix["methods"]]
        lines = [
            (name, *(f"{w}/{c}" if c else "" for w, c in zip(won, common, strict=True)))
            for name, won, common in zip(names, matrix["wins"], matrix["common"], strict=True)
        ]
        parts.append(f"<h3>{escape(track)}</h3>" + _table(("surely better than", *names), lines) if names else "")
    return "".join(parts) or "<p>Too few methods with three seeds in common cells.</p>"


def _samples(frame: pd.DataFrame) -> str:
    shown = frame.sort_values(["epsilon", "seed"], ascending=[False, True])
    figures = []
    for (dataset, _), rows in shown.groupby(["dataset", "method"]):
        row = next(rows.itertuples())
        path = Path(str(row.path)) / "grid.png"
        if path.exists():
            image = base64.b64encode(path.read_bytes()).decode()
            caption = f"{dataset}, {_label(row)}, ε = {row.epsilon:g}"
            figures.append(
                f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{image}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
    return "".join(figures)


def write_report(grid: Grid, folders: Iterable[Path], out: Path) -> list[Judged]:
    """Write ``index.html`` and the pictures into a folder, and return the verdicts.

    Args:
        grid: the experiment.
        folders: of runs, or results stores.
        out: made if it is not there.
    """
    frame = records_of(grid, folders)
    if frame.empty:
        empty = [judge(finding, frame) for finding in grid.findings]
        page = f"<h1>{escape(grid.title)}</h1><p>None of its {len(grid.units)} runs has a record.</p>{_findings(empty)}"
        _write_page(out, grid, page)
        return empty
    table = against_paper(put_beside(frame, grid.paper))
    judged = [judge(finding, table) for finding in grid.findings]
    plots = pictures(table)
    for name, text in plots.items():
        write_text_atomically(out / name, text)
    rows = (
        (
            row.dataset + (" *" if row.copy_of_data else ""),
            f"{row.epsilon:g}",
            _label(row),
            f"{row.mean:.1f} ± {row.high - row.mean:.1f}",
            row.seeds,
            (f"{row.rank_best}-{row.rank_worst}" if row.ranked else "reference" if row.reference else "not ranked"),
            "" if row.paper != row.paper else f"{row.paper:.1f}",
            f"{row.minutes / 60:.2f}",
        )
        for row in table.itertuples()
    )
    agreements = [(one.dataset, f"{one.epsilon:g}", f"{one.tau:+.2f}", one.methods) for one in kendall(table)]
    tau = _table(("dataset", "ε", "τ", "methods"), agreements) if agreements else "<p>Fewer than three methods.</p>"
    columns = ("dataset", "ε", "method", "ours, %", "seeds", "rank", "paper, %", "hours")
    sections = {
        "The paper's findings": _findings(judged) + f"<p>{escape(RULE)}</p>" if judged else "",
        "Numbers": _table(columns, rows) + f"<p>{escape(REMARK)}</p>",
        "Agreement with the paper's order (Kendall's τ)": tau,
        "Utility against privacy and against time": "".join(plots.values()),
        "Who surely beats whom": _wins(table),
        "Samples": _samples(frame),
    }
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections.items() if content)
    missing = len(grid.units) - len(frame)
    page = f"<h1>{escape(grid.title)}</h1><p>{len(frame)} of {len(grid.units)} runs have a record, {missing} do not."
    _write_page(out, grid, f"{page} {escape(grid.note)}</p>{body}")
    return judged


def _write_page(out: Path, grid: Grid, body: str) -> None:
    head = f'<meta charset="utf-8"><title>{escape(grid.title)}</title><style>{_STYLE}</style>'
    write_text_atomically(
        out / "index.html", f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
    )
