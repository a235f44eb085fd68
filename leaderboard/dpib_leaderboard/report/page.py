"""The report of one experiment: a page that needs no other file, and its pictures beside it. Imports no torch."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from dpib.comparison import RULE, Judged, against_paper, judge
from dpib.files import write_atomically, write_text_atomically
from dpib.grids.grid import Grid
from dpib.machine import usual_hardware
from dpib.paper import REMARK, put_beside
from dpib.query import COSTS, name_of, records_of
from dpib_leaderboard.report import tables
from dpib_leaderboard.report.figures import Picture, pictures
from dpib_leaderboard.report.records import records_shown
from dpib_leaderboard.report.tables import Table

ACCOUNT = (
    "Every ε of ours is what a ledger of all accesses to private images amounts to, by PLD for adding or removing one "
    "record; the choice of a classifier's epoch is among them. So a verdict is what the finding becomes under that "
    "account; where a method's published code accounts otherwise, the method's page says how."
)
_STYLE = """body{font:14px/1.5 Helvetica,Arial,sans-serif;max-width:1280px;margin:2em auto;padding:0 1em;color:#111}
table{border-collapse:collapse;margin:1em 0;font-size:13px;display:block;overflow-x:auto}
td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}
table.text td{white-space:normal}p{max-width:1000px}
figure{display:inline-block;margin:4px;break-inside:avoid;vertical-align:top}figcaption{font-size:12px}
figure img{width:300px;image-rendering:pixelated}img.plot{max-width:100%;margin:4px 12px 4px 0;vertical-align:top}
@media print{body{margin:0}h2{break-after:avoid}}"""
_WEBP_QUALITY = 80


def _html(table: Table, kind: str = "numbers") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<table class="{kind}"><tr>{head}</tr>{body}</table>'


def _plot(picture: Picture) -> str:
    content = base64.b64encode(picture.svg).decode()
    return f'<img class="plot" alt="{escape(picture.title)}" src="data:image/svg+xml;base64,{content}">' + (
        "" if picture.paired else "<br>"
    )


def _samples(frame: pd.DataFrame) -> str:
    """Return a grid of images of each configuration, at the largest ε; the rows of a grid are classes."""
    labels = [name_of(row) for row in frame.itertuples()]
    shown = frame.assign(label=labels).sort_values(["epsilon", "seed"], ascending=[False, True])
    figures = []
    for (dataset, label), rows in shown.groupby(["dataset", "label"]):
        row = next(rows.itertuples())
        content = _compressed(Path(str(row.path)) / "grid.png")
        if content:
            caption = escape(f"{dataset}, {label}, ε = {row.epsilon:g}")
            figures.append(
                f'<figure><img alt="{caption}" src="data:image/webp;base64,{base64.b64encode(content).decode()}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    return "".join(figures)


def _compressed(path: Path) -> bytes:
    """Return a grid of images as WebP, empty if there is none; a damaged one warns and is left out."""
    compressed = io.BytesIO()
    try:
        Image.open(path).convert("RGB").save(compressed, "WEBP", quality=_WEBP_QUALITY)
    except FileNotFoundError:
        return b""
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        warnings.warn(f"left out: {path}: {error}", stacklevel=2)
        return b""
    return compressed.getvalue()


def write_report(grid: Grid, folders: Iterable[Path], out: Path) -> list[Judged]:
    """Write ``index.html`` and the pictures, as PDF, into a folder, and return the verdicts.

    Args:
        grid: the experiment.
        folders: of runs, or results stores.
        out: made if it is not there.
    """
    records = records_shown(folders)
    frame = records_of((unit.spec for unit in grid.units), records)
    if frame.empty:
        empty = [judge(finding, frame) for finding in grid.findings]
        told = _html(tables.findings(empty), "text") if empty else ""
        _write_page(out, grid, f"<p>None of its {len(grid.units)} runs has a record.</p>{told}")
        return empty
    frame, machine = _timed_on_one(put_beside(frame, grid.paper))
    table = against_paper(frame, known=records)
    judged = [judge(finding, table) for finding in grid.findings]
    labels = pd.Series([name_of(row) for row in table.itertuples()], index=table.index)
    drawn = list(pictures(table, labels))
    for picture in drawn:
        _write_bytes(out / f"{picture.name}.pdf", picture.pdf)
    agreement = tables.agreement(table)
    won = [f"<h3>{escape(track)}</h3>" + _html(matrix) for track, matrix in tables.wins(table)]
    sections = {
        "The paper's findings": _html(tables.findings(judged), "text") + _texts(RULE, ACCOUNT) if judged else "",
        "Accuracy": _html(tables.accuracies(table)) + _texts(REMARK),
        "Utility against privacy and against time": "".join(map(_plot, drawn)) + _texts(machine),
        "Agreement with the paper's order (Kendall's τ)": _html(agreement)
        if agreement.rows
        else _texts("Fewer than three methods."),
        "Who surely beats whom": "".join(won) or _texts("Fewer than three methods with three seeds in a common cell."),
        "All scores": _html(tables.metrics(frame)) + _texts("Means over seeds; in brackets the paper's."),
        "Time and memory": _html(tables.resources(frame))
        + _texts(
            "Means over seeds, evaluation apart; pretraining is that of the run that made it, 0 where none of these "
            "did. In brackets the paper's, on GPUs (Table XIX).",
            machine,
        ),
        "Samples": _samples(frame),
    }
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections.items() if content)
    missing = len(grid.units) - len(frame)
    counts = f"{len(frame)} of {len(grid.units)} runs have a record, {missing} do not."
    _write_page(out, grid, _texts(f"{counts} {grid.note}".strip()) + body)
    return judged


def _timed_on_one(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the records without the costs of those made elsewhere than most, and a sentence that says so."""
    usual = usual_hardware(frame["hardware"])
    elsewhere = frame["hardware"] != usual
    told = f"Times and memory are of: {usual}."
    if elsewhere.any():
        counts = frame["hardware"][elsewhere].value_counts().sort_index()
        others = ", ".join(f"{name} ({count})" for name, count in counts.items())
        told += f" Left out of them, and only of them, are the runs on {others}."
    return frame.assign(**{name: frame[name].mask(elsewhere) for name in COSTS}), told


def _texts(*texts: str) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def _write_bytes(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _write_page(out: Path, grid: Grid, body: str) -> None:
    title = escape(grid.title)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    page = f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{title}</h1>{body}</body></html>\n'
    write_text_atomically(out / "index.html", page)
