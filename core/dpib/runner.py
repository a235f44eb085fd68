"""From a spec to a record in one straight line; nothing else in dpib runs a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dpib import plugins
from dpib.data.imagefile import load_parquet
from dpib.data.load import load_public, load_splits, locate
from dpib.data.public import fit_to_task
from dpib.data.splits import SIDES
from dpib.errors import ConfigError
from dpib.files import DEFAULT_RUNS
from dpib.job import Job, make_spec, prepare
from dpib.machine import CostClock, choose_device
from dpib.privacy.ledger import Budget, LedgerFile, PrivacyLedger
from dpib.progress import Observer, Reporter, terminal_reporter
from dpib.recording import build_record
from dpib.records import RunRecord, load_record, settings_of
from dpib.stages import produce, score
from dpib.workspace import Workspace


def _ledgers(job: Job, file: LedgerFile, session: str) -> tuple[PrivacyLedger, PrivacyLedger]:
    train = Budget(epsilon=job.spec.epsilon if job.method.card.private else None, delta=job.dataset.delta)
    validation = Budget(epsilon=job.spec.epsilon, delta=job.dataset.delta)
    relation = job.track.relation
    return (
        PrivacyLedger(file, "train", train, session, relation),
        PrivacyLedger(file, "validation", validation, session, relation),
    )


def _execute(
    job: Job,
    workspace: Workspace,
    data_dir: Path | None,
    device: str,
    reporter: Reporter,
    clock: CostClock,
) -> RunRecord:
    spec, task = job.spec, job.dataset.task()
    with reporter.task("load data"):
        splits = load_splits(job.dataset, data_dir, reporter)
        fingerprints = {side: getattr(splits, side).fingerprint for side in SIDES}
        public = None
        if job.public:
            public = fit_to_task(
                load_public(job.public, data_dir, reporter), task, conditional=spec.pretrain == "conditional"
            )
        public_data = job.public_data(public)
        workspace.pin_data({**public_data, **fingerprints})
    noise, session = workspace.noise()
    file = workspace.ledger_file()
    ledgers = _ledgers(job, file, session)
    parameters = produce(job, workspace, splits.train, public, ledgers[0], noise, device, reporter)
    synthetic = load_parquet(workspace.images_path, task.shape, task.n_classes)
    scores = score(workspace, job.track, job.dataset, splits, synthetic, ledgers[1], noise, device, reporter)
    return build_record(
        workspace=workspace,
        plan=job.plan(device),
        method=job.method,
        track=job.track,
        dataset=job.dataset,
        fingerprints=fingerprints,
        data_source=locate(job.dataset, data_dir).kind,
        public_data=public_data,
        ledgers=ledgers,
        synthetic=synthetic,
        scores=scores,
        clock=clock,
        device=device,
        parameters=parameters,
    )


def _finished(workspace: Workspace, job: Job) -> RunRecord | None:
    """Return the record if the run is complete.

    Raises:
        ConfigError: if it was made with other settings than the presets have now.
    """
    found = workspace.finished()
    if found is not None:
        objection = job.unlike(settings_of(found.method.model_dump(mode="json")))
        if objection:
            raise ConfigError(workspace.holds(objection))
    return found


def run_job(
    job: Job,
    runs: Path,
    data_dir: Path | None = None,
    device: str = "auto",
    observers: Sequence[Observer] = (),
    quiet: bool = False,
) -> RunRecord:
    """Run a prepared job, or continue it, or return its record if it is complete.

    A record with an undefined score is superseded by a new one if the score can be computed now.

    Args:
        job: see ``prepare``.
        runs: root of run folders.
        data_dir: folder of data mirrors; else ``DPIB_DATA``, else the Hub.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a torch device.
        observers: get every progress event.
        quiet: draw no progress.

    Raises:
        DpibError: whatever went wrong; the folder stays as it is and the same call continues.
    """
    workspace = Workspace(runs, job.spec)
    found = _finished(workspace, job)
    if found is not None and found.status == "complete":
        workspace.forget_noise()
        return found
    locate(job.dataset, data_dir)
    if job.public:
        locate(job.public, data_dir)
    device = choose_device(device)
    with workspace.open():
        found = _finished(workspace, job)  # again, now that nobody else can be finishing it
        if found is not None and found.status == "complete":
            return found
        workspace.begin(job.plan(device))
        clock = CostClock(workspace.folder / "cost.json")
        with terminal_reporter(quiet, clock, plugins.observe, *observers) as reporter:
            record = _execute(job, workspace, data_dir, device, reporter, clock)
        if found is not None and found.scores == record.scores:
            workspace.forget_noise()
            return found
        workspace.finish(record if found is None else record.superseding(found))
        return load_record(workspace.record_path)


def run(
    method: str,
    dataset: str,
    epsilon: float,
    *,
    track: str = "lite",
    seed: int = 0,
    public: str = "none",
    pretrain: Literal["none", "conditional", "unconditional"] | None = None,
    preludes: Sequence[str] = (),
    variant: str | None = None,
    overrides: dict[str, bool | int | float | str] | None = None,
    plugin: Path | str | None = None,
    runs: Path | str = DEFAULT_RUNS,
    data_dir: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> RunRecord:
    """Run one method on one dataset at one ε and return its record: ``dpib run`` from Python.

    Calling it again with the same arguments continues an interrupted run or returns the finished record.

    Args:
        method: name of an installed method, or of one in ``plugin``.
        dataset: name of a sensitive dataset of the track.
        epsilon: total budget ε > 0; δ is the dataset's.
        track: ``"lite"`` or a full name such as ``"lite-v1"``.
        seed: public seed for initialisation and sampling; DP noise never comes from it.
        public: public dataset to pretrain on, perhaps a share of it (``"D:5%"``), or ``"none"``.
        pretrain: how public labels are used.
        preludes: names of private queries that give the method images to learn from first.
        variant: a named size preset of the method.
        overrides: hyper-parameters to change; marks the record ``tuned``.
        plugin: a single Python file that brings the method.
        runs: folder for run folders.
        data_dir: folder of data mirrors; else ``DPIB_DATA``, else the Hub.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        quiet: draw no progress.

    Raises:
        DpibError: see ``dpib.errors``.
    """
    if plugin is not None:
        plugins.load_file(plugin)
    spec = make_spec(method, dataset, epsilon, track, seed, public, pretrain, preludes, variant, dict(overrides or {}))
    return run_job(prepare(spec), Path(runs), Path(data_dir) if data_dir else None, device, quiet=quiet)
