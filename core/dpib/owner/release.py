"""From a data owner's request to a release in one straight line: the harness of ``dpib run`` without its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dpib.context import RunContext
from dpib.data.images import LabelledImages
from dpib.data.load import load_public, locate
from dpib.data.own import read_own
from dpib.data.public import fit_to_task
from dpib.generation import make_images
from dpib.machine import choose_device
from dpib.owner.certificate import Certificate, build_certificate
from dpib.owner.folder import IMAGES, ReleaseFolder
from dpib.owner.request import OwnerJob, Plan, remarks
from dpib.privacy.ledger import Budget, PrivacyLedger, parse_charges
from dpib.privacy.noise import noise_of_folder
from dpib.privacy.private import PrivateDataset
from dpib.progress import Reporter, terminal_reporter
from dpib.seeds import Seeds


@dataclass(frozen=True)
class Outcome:
    """A release, and whether it was found complete: then nothing was spent."""

    certificate: Certificate
    reused: bool


def read_images_of(job: OwnerJob, reporter: Reporter) -> LabelledImages:
    """Read the owner's images and tell the reporter, which speaks to the owner alone, what is found."""
    with reporter.task("load images"):
        data = read_own(job.images, job.request.classes, job.request.preprocessing)
    for remark in remarks(torch.bincount(data.labels, minlength=len(job.request.classes)).tolist(), job.request):
        reporter.note(remark)
    return data


def release(job: OwnerJob, *, data_dir: Path | None = None, device: str = "auto", quiet: bool = False) -> Outcome:
    """Make a release, or continue it, or return its certificate if it is complete.

    Every access goes through the mechanisms and the ledger that ``dpib run`` uses. All images are used for training;
    none is set aside and nothing is selected by looking at them. Nothing derived from them is written outside the
    folder of the release, and nothing of it stays there but what the guarantee covers.

    Args:
        job: see ``dpib.owner.request.resolve``.
        data_dir: folder of mirrors for public images.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a torch device.
        quiet: draw no progress.

    Raises:
        DpibError: whatever went wrong; the folder stays as it is and the same call continues. Messages may name the
            owner's files.
    """
    folder = ReleaseFolder(job.out)
    if job.settings.public:
        locate(job.settings.public, data_dir)
    device = choose_device(device)
    plan = job.plan(device)
    found = folder.finished(plan)
    if found is None:
        with folder.open():
            found = folder.finished(plan)  # again, now that nobody else can be finishing it
            if found is None:
                folder.begin(plan)
                if not folder.is_staged(job.task):
                    with terminal_reporter(quiet) as reporter:
                        _make(job, plan, folder, data_dir, device, reporter)
                folder.publish()
            folder.clean()
    elif folder.work.exists():
        folder.clean()
    certificate = folder.finished(plan)
    assert certificate is not None
    return Outcome(certificate, reused=found is not None)


def _make(
    job: OwnerJob, plan: Plan, folder: ReleaseFolder, data_dir: Path | None, device: str, reporter: Reporter
) -> None:
    data = read_images_of(job, reporter)
    task, spec = job.task, job.settings.spec
    public = None
    if job.settings.public:
        loaded = load_public(job.settings.public, data_dir)
        public = fit_to_task(loaded, task, conditional=spec.pretrain == "conditional")
    noise, session = noise_of_folder(folder.work)
    public_data = job.settings.public_data(public)
    facts = repr((tuple(data.images.shape), sorted(public_data.items())))
    folder.pin_images(noise.tag(facts.encode(), data.images.numpy().data, data.labels.numpy().data))
    file = folder.ledger_file()
    ledger = PrivacyLedger(file, "train", Budget(epsilon=spec.epsilon, delta=job.delta), session)
    context = RunContext(folder.state, device, Seeds(spec.seed), reporter)
    private = PrivateDataset(data, task, ledger, noise, context)
    synthetic = make_images(job.settings, task, private, public, job.request.n_images, folder.cache, context)
    charges, executed = parse_charges(file.lines)
    name = IMAGES[job.request.image_format]
    parameters = context.recall("parameters")
    certificate = build_certificate(job, plan, charges, executed, synthetic, public_data, parameters, name)
    folder.stage(synthetic, certificate)
