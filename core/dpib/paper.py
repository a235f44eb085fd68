"""The numbers that Gong et al., DPImageBench, CCS 2025, print, to stand beside ours. Imports no torch.

Two columns that are not one experiment: their accuracy is the best of three classifiers, ours the mean over the
track's; the ε of their generators is theirs; and ``lite`` trains less. Figures 5 and 6 are not printed; their series
are those of the published plotting scripts.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dpib.spec import RunSpec

if TYPE_CHECKING:
    import pandas as pd

REMARK = (
    "The paper's accuracy is the best of three classifiers, ours the mean over the track's; "
    "the ε of its generators is its own. * marks a lossy copy of CIFAR-10."
)
_COPIES = {"cifar10-jpeg75": "cifar10", "tiny-imagenet-32": "imagenet-32"}
"""What takes the place of the paper's datasets on smaller tracks."""
_OTHER_NAMES = {"celeba-male-32": "celeba"}
_REFERENCES = {"real": "no-dp"}
_PRETRAINED = ("pe", "pdp-diffusion", "dp-ldm", "dp-ldm-sd", "dp-lora", "privimage")
"""Methods whose numbers in the general tables are with public images; those of the others are without."""
_GENERAL = ("VIII", "VII*", "VII", "IX", "XVIII")
_IMAGENET = ("imagenet-32", "imagenet-64", "imagenet-128")
_DRAWINGS = ("omniglot-28", ("mnist", "fashion-mnist"))
"""What takes the place of ImageNet on smaller tracks, for these datasets."""


@cache
def published() -> tuple[dict[str, str], ...]:
    """Return every number: table, dataset, ε, method, public, preludes, variant, metric, value and note, as text."""
    with Path(__file__).with_name("paper_results.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


@cache
def _index() -> dict[tuple[str, ...], dict[str, float]]:
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for fact in published():
        epsilon = "inf" if fact["epsilon"] == "inf" else f"{float(fact['epsilon']):g}"
        key = (fact["table"], fact["dataset"], epsilon, fact["method"], fact["public"], fact["preludes"])
        found.setdefault((*key, fact["variant"]), {})[fact["metric"]] = float(fact["value"])
    return found


def tables() -> tuple[str, ...]:
    """Return the tables there are numbers of, in the order of the file."""
    return tuple(dict.fromkeys(fact["table"] for fact in published()))


def beside(spec: RunSpec, table: str = "") -> dict[str, float]:
    """Return what the paper prints for a run, by metric; empty if it has no such run.

    Its tables are of conditional pretraining (Appendix B.2.3), so there is nothing beside an unconditional one.

    Args:
        spec: our run. A lossy copy of a dataset is put beside the original, the ceiling beside the paper's, whose
            protocol is not stated.
        table: one of ``tables()`` that goes first; else the tables of utility and fidelity only.
    """
    if spec.pretrain == "unconditional":
        return {}
    dataset = _COPIES.get(spec.dataset, spec.dataset)
    method = _REFERENCES.get(spec.method, spec.method)
    epsilon = "inf" if method == "no-dp" else f"{spec.epsilon:g}"
    name, colon, share = ("" if spec.public == "none" else spec.public).partition(":")
    public = _COPIES.get(name, name) + colon + share
    setting = ("+".join(spec.preludes), spec.variant or "")
    numbers = dict(_index().get((table, dataset, epsilon, method, public, *setting), {}))
    as_usual = public in _IMAGENET or (public == _DRAWINGS[0] and dataset in _DRAWINGS[1])
    pretrained = method in _PRETRAINED and as_usual
    if not numbers and pretrained:  # most tables do not name the public images of all of them
        numbers = dict(_index().get((table, dataset, epsilon, method, "", *setting), {}))
    if setting == ("", "") and (not public or pretrained):
        for general in _GENERAL:
            key = (general, _OTHER_NAMES.get(dataset, dataset), epsilon, method, "", "", "")
            numbers = _index().get(key, {}) | numbers
    if "accuracy[unstated]" in numbers:
        numbers["accuracy[noisy-senv]"] = numbers.pop("accuracy[unstated]")
    return numbers


def put_beside(frame: pd.DataFrame, table: str = "") -> pd.DataFrame:
    """Return records, as ``dpib.results`` does, with columns ``paper:<metric>`` and ``copy_of_data`` (a lossy copy)."""
    rows = []
    for row in frame.to_dict(orient="records"):
        spec = RunSpec(
            method=row["method"],
            dataset=row["dataset"],
            epsilon=row["epsilon"],
            track=row["track"],
            public=row["public"],
            pretrain=row["pretrain"],
            preludes=tuple(filter(None, row["preludes"].split("+"))),
            variant=row["variant"] or None,
        )
        numbers = {} if row["tuned"] else beside(spec, table)
        rows.append({f"paper:{metric}": value for metric, value in numbers.items()})
    import pandas as pd

    shown = pd.DataFrame(rows, index=frame.index)
    return frame.join(shown).assign(copy_of_data=frame["dataset"].isin(list(_COPIES)))
