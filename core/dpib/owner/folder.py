"""The folder of a release: the only module that knows its paths.

::

    OUT/
      UNFINISHED-do-not-release/   mode 0700; state, ledger and secret of the run; deleted on completion
      images/<class>/000000.png    or images.parquet
      grid.png                     a sample
      statement.md                 the guarantee in plain words
      certificate.json             the same for machines; written last

Everything is put together inside the first folder and moved out when it is complete, so that nothing half-finished
lies where a release is expected.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from dpib.data.imagefile import save_grid, save_parquet, save_png_folders
from dpib.data.images import LabelledImages
from dpib.data.readers import read_images
from dpib.errors import ConfigError, DataError, RunError, StorageError
from dpib.files import exclusive, write_text_atomically
from dpib.generation import balanced_labels
from dpib.owner.certificate import Certificate, load_certificate
from dpib.owner.request import ImageFormat, Plan
from dpib.privacy.ledger import LedgerFile
from dpib.spec import TaskInfo
from dpib.workspace import open_ledger

UNFINISHED = "UNFINISHED-do-not-release"
IMAGES = {"png": "images", "parquet": "images.parquet"}
CERTIFICATE = "certificate.json"
_CONTENT = (*IMAGES.values(), "grid.png", "statement.md", CERTIFICATE)


class ReleaseFolder:
    """One release, begun or complete.

    Args:
        out: the folder; made when work begins.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.work = out / UNFINISHED

    @property
    def state(self) -> Path:
        """The method's checkpoints."""
        return self.work / "state"

    @property
    def cache(self) -> Path:
        """States that depend on public images alone."""
        return self.work / "cache"

    @property
    def _staged(self) -> Path:
        return self.work / "release"

    def images_path(self, image_format: ImageFormat) -> Path:
        """Where the released images are."""
        return self.out / IMAGES[image_format]

    def finished(self, plan: Plan) -> Certificate | None:
        """Return the certificate if the release is complete.

        Raises:
            ConfigError: if it is the release of another request.
        """
        if not (self.out / CERTIFICATE).exists():
            return None
        certificate = load_certificate(self.out / CERTIFICATE)
        if (certificate.request, certificate.spec) != (plan.request, plan.settings.spec):
            raise ConfigError(
                f"{self.out} holds another release. Choose another --out; remember that the budgets of two releases of "
                "the same images add up."
            )
        return certificate

    @contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder and hold it for this process.

        Raises:
            ConfigError: if it holds other files, or is one.
            StorageError: if it cannot be made or another process holds it.
        """
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"{self.out} is a file. Choose a new folder for --out.")
        begun = self.work.exists() or (self.out / CERTIFICATE).exists()  # or completed since the caller looked
        if not begun and self.out.exists() and any(self.out.iterdir()):
            raise ConfigError(f"{self.out} holds other files. Choose a new folder for --out.")
        try:
            self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.work.chmod(0o700)
        except OSError as error:
            raise StorageError(f"Cannot make the folder {self.work}: {error.strerror}.") from error
        with exclusive(self.work):
            yield

    def begin(self, plan: Plan) -> None:
        """Write down the plan, or check that the folder was begun for the same one.

        Raises:
            ConfigError: if it was begun for another request, or by other code.
            RunError: if the plan is damaged.
        """
        path = self.work / "plan.json"
        if not path.exists():
            write_text_atomically(path, json.dumps(plan.model_dump(mode="json"), indent=1) + "\n", mode=0o600)
            return
        try:
            begun = Plan.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} is damaged. Delete {self.out} to start anew.") from error
        ours, theirs = plan.request, begun.request
        differing = [
            *(name for name in type(ours).model_fields if getattr(ours, name) != getattr(theirs, name)),
            *plan.settings.unlike(begun.settings),
        ]
        if differing:
            raise ConfigError(
                f"{self.out} was begun under other conditions ({', '.join(differing)}). Finish it with the same "
                "command and the same code, or delete the folder to start anew."
            )

    def pin_images(self, tag: str) -> None:
        """Keep a keyed digest of own and public images while the run is unfinished, or check that they are as before.

        Raises:
            ConfigError: if they changed: noise drawn for other images must not be used again.
        """
        path = self.work / "images.tag"
        if not path.exists():
            write_text_atomically(path, tag, mode=0o600)
        elif path.read_text() != tag:
            raise ConfigError(
                f"The images, own or public, changed since {self.out} was begun. Restore them, or delete the folder."
            )

    def ledger_file(self) -> LedgerFile:
        """Open the ledger; see ``dpib.workspace.open_ledger``."""
        return open_ledger(self.work / "ledger.jsonl", self.state.exists() and any(self.state.iterdir()))

    def stage(self, data: LabelledImages, certificate: Certificate) -> None:
        """Put the release together inside the unfinished folder, the certificate once all else is on the disk."""
        shutil.rmtree(self._staged, ignore_errors=True)
        request = certificate.request
        save = save_parquet if request.image_format == "parquet" else save_png_folders
        save(self._staged / IMAGES[request.image_format], data, request.classes)
        save_grid(self._staged / "grid.png", data, len(request.classes))
        write_text_atomically(self._staged / "statement.md", certificate.statement)
        os.sync()  # or a power cut may keep the certificate and lose images
        write_text_atomically(self._staged / CERTIFICATE, certificate.to_json())

    def publish(self) -> None:
        """Move the release out, the certificate last. Goes on where an earlier process was stopped."""
        for name in _CONTENT:
            if (self._staged / name).exists():
                if (self.out / name).is_dir():  # moved out by an earlier process and found damaged since
                    shutil.rmtree(self.out / name)
                (self._staged / name).replace(self.out / name)

    def is_staged(self, task: TaskInfo) -> bool:
        """Return whether a complete release waits to be moved out, its images as the certificate says.

        Args:
            task: shape and classes of the images.
        """
        if not (self._staged / CERTIFICATE).exists():
            return False
        certificate = load_certificate(self._staged / CERTIFICATE)
        image_format = certificate.request.image_format
        staged = self._staged / IMAGES[image_format]
        try:
            data = read_images(staged if staged.exists() else self.images_path(image_format), task)
        except DataError:
            return False
        return _in_turn(data, task.n_classes).fingerprint == certificate.synthetic.digest

    def clean(self) -> None:
        """Delete the secret, the state and everything else that is not released."""
        shutil.rmtree(self.work, ignore_errors=True)
        if self.work.exists():
            raise StorageError(f"Cannot delete {self.work}. Delete it before you release {self.out}.")


def _in_turn(data: LabelledImages, n_classes: int) -> LabelledImages:
    """Return images that may have been read class by class in the order in which they were made: classes in turn."""
    by_class = data.labels.argsort(stable=True)
    turn = balanced_labels(len(data), n_classes).argsort(stable=True).argsort()
    return data[by_class[turn]]
