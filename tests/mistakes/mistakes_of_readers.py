"""What goes wrong on the way of somebody who reads, checks or submits results."""

from __future__ import annotations

import mistake_scenes as scenes
import numpy as np
from mistake import Mistake

GREY = np.zeros((20, 8, 8), np.uint8)
LABELS = np.arange(20) % 10
EVAL = "dpib eval images.npz --dataset digits --track demo"
STORED = "store/demo-v1/digits/dp-means/0123456789abcdef"

MISTAKES = (
    Mistake("nothing at the path", "dpib verify runs/mine", 2, "No record at"),
    Mistake("a run that is not finished", "dpib verify runs/demo-v1", 2, "No record at", scenes.unfinished),
    Mistake("a record that was edited", "dpib results", 0, "the record was edited", scenes.edited_record),
    Mistake("no records yet", "dpib results", 0, "Start with"),
    Mistake("no such folder of runs", "dpib results --runs resuls", 2, "resuls"),
    Mistake("mistyped a track", "dpib results --track lit", 0, "There are: track demo-v1", scenes.finished),
    Mistake("against a method without records", "dpib results --against dpgan", 2, "of: dp-means", scenes.finished),
    Mistake("a table of nothing", "dpib results --table XIII", 2, "--against paper"),
    Mistake("a table that the paper lacks", "dpib results --against paper --table 8", 2, "Known: "),
    Mistake("scores of nothing", "dpib eval images.npz --dataset digits --track demo", 3, "No images at images.npz"),
    Mistake("images of no dataset", "dpib eval images.npz", 2, "--dataset", scenes.arrays(GREY, LABELS)),
    Mistake("pixels between 0 and 1", EVAL, 3, "uint8", scenes.arrays(GREY.astype(np.float32), LABELS)),
    Mistake("colour for a grey dataset", EVAL, 3, "(1, 8, 8)", scenes.arrays(GREY[..., None].repeat(3, -1), LABELS)),
    Mistake("labels from 1", EVAL, 3, "labels in 0..9", scenes.arrays(GREY, LABELS + 1)),
    Mistake("fewer labels than images", EVAL, 3, "20 labels", scenes.arrays(GREY, LABELS[:-1])),
    Mistake("mistyped a metric", f"{EVAL} --metric fdi", 2, "No metric named 'fdi'", scenes.arrays(GREY, LABELS)),
    Mistake("nothing to submit", "dpib submit", 2, "at least one run folder"),
    Mistake("a path without records", "dpib submit runs --to store", 2, "runs"),
    Mistake("a store that is no address", "dpib submit runs --to hf:dpib", 2, "hf:ORG/REPO", scenes.finished),
    Mistake("no account on the Hub", "dpib submit runs --to hf:org/repo", 3, "login", scenes.finished),
    Mistake("a submission of an edited record", "dpib submit runs --to store --yes", 1, "edited", scenes.edited_record),
    Mistake("no such store", "dpib leaderboard --store results", 2, "No results store at results"),
    Mistake("a site over other files", "dpib leaderboard --store store --export .", 2, "not empty", scenes.store),
    Mistake("a review of nothing", "dpib review store/mine", 2, "No submission at"),
    Mistake("a review outside a store", "dpib review runs", 2, "record.json", scenes.finished),
    Mistake("code without --reproduce", f"dpib review {STORED} --code mine.py", 2, "--reproduce", scenes.store),
    Mistake("publishing a folder", f"dpib review {STORED} --publish", 2, "pull request", scenes.store),
    Mistake(
        "withdrawal of what was never reviewed",
        f"dpib review {STORED} --invalidate wrong",
        1,
        "has no review to take back",
        scenes.store,
    ),
    Mistake("a report of no grid", "dpib report grid.toml --out report", 2, "No grid file at grid.toml"),
    Mistake("a download of everything", "dpib datasets --check --download", 2, "one dataset"),
    Mistake("images that are not here", "dpib datasets mnist --check", 3, "--download", prints=True),
)
