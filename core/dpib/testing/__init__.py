"""For the tests of methods: run one from data to record, or put one through the conformance suite."""

from __future__ import annotations

from pathlib import Path

import dpib
from dpib import catalogue, plugins
from dpib.records import RunRecord
from dpib.testing.suite import check_method, conformance

__all__ = ["check_method", "conformance", "run_method"]


def run_method(
    method: str | Path,
    folder: Path,
    *,
    dataset: str = "digits",
    epsilon: float = 10.0,
    track: str = "demo",
    seed: int = 0,
) -> RunRecord:
    """Run a method and check its record, its spending and its images.

    Args:
        method: name of an installed method, or path of a single-file plugin that brings one.
        folder: where the run folder goes, e.g. pytest's ``tmp_path``.
        dataset: a dataset of the track; ``digits`` needs no download.
        epsilon: total budget.
        track: name or family.
        seed: public seed.

    Returns:
        The record of the run.

    Raises:
        AssertionError: says what is not as it must be.
        DpibError: if the run fails.
    """
    plugin = Path(method) if str(method).endswith(".py") else None
    name = plugins.load_file(plugin).methods[0].card.name if plugin else str(method)
    record = dpib.run(
        name, dataset, epsilon, track=track, seed=seed, plugin=plugin, runs=folder, device="cpu", quiet=True
    )
    undefined = {score.metric: score.reason for score in record.scores if score.value is None}
    assert record.status == "complete", f"The record is {record.status}: {undefined}"
    _check_spending(record, private=catalogue.method(name).card.private)
    _check_images(record, folder)
    return record


def _check_spending(record: RunRecord, private: bool) -> None:
    spent, target = record.privacy.spent_epsilon, record.privacy.target_epsilon
    if private:
        assert spent is not None, "The method is private by its card, but the ledger has unprotected access."
        assert spent <= target, f"The ledger says ε = {spent}, more than the {target} asked for."


def _check_images(record: RunRecord, folder: Path) -> None:
    from dpib.data.imagefile import load_parquet
    from dpib.workspace import Workspace

    path = Workspace(folder, record.task.spec).images_path
    stored = load_parquet(path, record.task.shape, len(record.task.classes))
    expected = catalogue.track(record.task.spec.track).n_images
    assert len(stored) == record.synthetic.count == expected, f"Expected {expected} images, found {len(stored)}."
    assert len(stored.images.unique(dim=0)) > 1, "All images are the same."
