"""The private report: scores of a release against the owner's images. Not differentially private, for the owner."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dpib.data.images import Splits
from dpib.data.readers import read_images
from dpib.errors import ConfigError
from dpib.evaluation import evaluate
from dpib.files import write_text_atomically
from dpib.machine import choose_device
from dpib.metrics.base import EvalInputs
from dpib.owner.certificate import Certificate
from dpib.owner.folder import ReleaseFolder
from dpib.owner.release import read_images_of
from dpib.owner.request import OwnerJob
from dpib.progress import terminal_reporter

WARNING = (
    "NOT PRIVATE, DO NOT RELEASE. These figures are computed from the real images without protection. They are also "
    "flattering: the images that they compare with are those that the method learnt from."
)


def check_report_path(path: Path, out: Path) -> None:
    """Refuse a report inside the release.

    Raises:
        ConfigError: if it would be released with the images.
    """
    if (path.parent.resolve() / path.name).is_relative_to(out.resolve()):
        raise ConfigError(f"The private report {path} must not lie in the release {out}.")


def write_private_report(
    job: OwnerJob, certificate: Certificate, path: Path, *, device: str = "auto", quiet: bool = False
) -> None:
    """Score a release with the track's metrics against the owner's images, and write the result (mode 0600).

    Nothing is written in the release. Features of the real images lie in a hidden folder (mode 0700) beside the report
    until it is written.

    Args:
        job: the request of the release.
        certificate: of the release, complete.
        path: JSON file, outside the release.
        device: torch device, or ``"auto"``.
        quiet: draw no progress.

    Raises:
        ConfigError: if the file would lie in the release.
        DataError: if the images cannot be read.
    """
    check_report_path(path, job.out)
    track, task = job.settings.track, job.task
    images = ReleaseFolder(job.out).images_path(job.request.image_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    with terminal_reporter(quiet) as reporter, scratch as cache:
        own = read_images_of(job, reporter)
        inputs = EvalInputs(
            synthetic=read_images(images, task),
            splits=Splits(train=own, validation=own, test=own),
            task=task,
            track=track,
            device=choose_device(device),
            cache=Path(cache),
            reporter=reporter,
            selector=None,
        )
        scores = evaluate(inputs)
    content = {
        "warning": WARNING,
        "release": certificate.id,
        "images": len(own),
        "per_class": dict(
            zip(task.classes, torch.bincount(own.labels, minlength=task.n_classes).tolist(), strict=True)
        ),
        "scores": [score.model_dump(mode="json") for score in scores],
    }
    write_text_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n", mode=0o600)
