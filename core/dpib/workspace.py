"""The run folder: the only module that knows its paths. The folder is the state; a repeated run continues from it.

::

    <runs>/<track>/<dataset>/<method>/eps1-seed0-1a2b3c4d/
      run.json         what was asked, resolved, and by which code; written first, never changed
      data.json        fingerprints of the private and public images it reads
      ledger.jsonl     append-only account of accesses to private data
      noise.secret     makes the noise; mode 0600, deleted when the record is written
      state/           the method's own checkpoints; state/hidden, mode 0600, deleted with the secret
      images.parquet   the synthetic set, in the layout of the Hub
      grid.png         a sample of it
      scores/          one file per metric, so that a failed one can be redone alone
      tables/          what is too long for a record: confusion matrices
      cost.json        seconds per stage and peak memory, over all sessions
      record.json      written last
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from dpib.context import forget_hidden
from dpib.errors import ConfigError, RunError, StorageError
from dpib.files import exclusive, write_text_atomically
from dpib.privacy.ledger import LedgerFile
from dpib.privacy.noise import NoiseSource, forget_noise, noise_of_folder
from dpib.records import PreludeBlock, RunRecord, Score, load_record
from dpib.spec import Frozen, RunSpec


class RunPlan(Frozen):
    """What a run folder was begun for; a folder never serves another.

    Attributes:
        config: resolved hyper-parameters.
        method_digest: sources of the method; a half-finished run is continued by the same code only, since its
            noise is replayed.
        core_digest: sources of dpib itself.
        rules_digest: the cards of track, dataset and public data.
        device: torch device; with ``torch_version`` it decides how sums are rounded, and noise is replayed on them.
    """

    spec: RunSpec
    config: Mapping[str, Any]
    layers: tuple[str, ...]
    changed: tuple[str, ...]
    distribution: str
    version: str
    method_digest: str
    core_digest: str
    rules_digest: str
    device: str
    torch_version: str
    preludes: tuple[PreludeBlock, ...] = ()

    def unlike(self, other: RunPlan) -> list[str]:
        """Return in words what differs between two plans."""
        differing = (name for name in RunPlan.model_fields if getattr(self, name) != getattr(other, name))
        return list(dict.fromkeys(_IN_WORDS.get(name, name) for name in differing))


_IN_WORDS = {
    "config": "settings",
    "layers": "settings",
    "changed": "settings",
    "distribution": "method package",
    "version": "method version",
    "method_digest": "method code",
    "core_digest": "dpib code",
    "rules_digest": "cards of track and data",
    "torch_version": "torch",
}


def open_ledger(path: Path, released: bool, witness: IO[bytes] | None = None) -> LedgerFile:
    """Open a run's ledger.

    Args:
        path: the file; made when first charged.
        released: whether the run has kept anything that came out of private data.
        witness: a stream that every appended line is sent to as well.

    Raises:
        RunError: if it is lost although something was released: the cost of that could not be accounted for.
    """
    if released and not path.exists():
        raise RunError(
            f"{path} is missing, but this run has released something. Its cost is unknown; "
            "delete the run folder to start anew."
        )
    return LedgerFile(path, witness)


class Workspace:
    """One run folder.

    Args:
        runs: root of all run folders.
        spec: the run; gives the folder its place.
    """

    def __init__(self, runs: Path, spec: RunSpec) -> None:
        self.runs = runs
        self.folder = runs / spec.track / spec.dataset / spec.method / spec.run_id
        self.spec = spec

    @property
    def record_path(self) -> Path:
        """Where the record goes."""
        return self.folder / "record.json"

    @property
    def ledger_path(self) -> Path:
        """The ledger."""
        return self.folder / "ledger.jsonl"

    @property
    def images_path(self) -> Path:
        """The synthetic set."""
        return self.folder / "images.parquet"

    @property
    def grid_path(self) -> Path:
        """The sample grid."""
        return self.folder / "grid.png"

    @property
    def state(self) -> Path:
        """Folder of the method's checkpoints."""
        return self.folder / "state"

    @property
    def tables(self) -> Path:
        """Folder of tables that metrics leave beside the record."""
        return self.folder / "tables"

    @property
    def cache(self) -> Path:
        """Folder of public artefacts that runs share: features and pretrained states."""
        return self.runs / ".cache"

    def finished(self) -> RunRecord | None:
        """Return the record if this run is complete.

        Raises:
            ConfigError: if the folder holds the record of another run.
        """
        if not self.record_path.exists():
            return None
        record = load_record(self.record_path)
        if record.task.spec != self.spec:
            raise ConfigError(self._other_run(record.task.spec))
        return record

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            StorageError: if it cannot be made.
            FolderInUse: if another process holds it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"Cannot make the run folder {self.folder}: {error.strerror}. Choose another --runs folder."
            ) from error
        with exclusive(self.folder):
            yield

    def begun(self) -> RunPlan | None:
        """Return what the folder was begun for; None if nothing was.

        Raises:
            RunError: if that is damaged.
        """
        path = self.folder / "run.json"
        try:
            return RunPlan.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RunError(f"{path} is damaged. Delete the run folder to start anew.") from error

    def check_continues(self, begun: RunPlan, plan: RunPlan) -> None:
        """Check that a plan continues what the folder was begun for.

        Raises:
            ConfigError: if the folder belongs to another spec, configuration or version of the code.
        """
        if begun.spec != plan.spec:
            raise ConfigError(self._other_run(begun.spec))
        differing = begun.unlike(plan)
        if differing:
            raise ConfigError(
                f"{self.folder} was begun under other conditions ({', '.join(differing)}). A half-finished private "
                "run is continued by the same code and settings only. Finish it with those, or delete the folder."
            )

    def begin(self, plan: RunPlan) -> None:
        """Write down the plan, or check that it continues what the folder was begun for.

        Raises:
            ConfigError: see ``check_continues``.
            RunError: see ``begun``.
        """
        begun = self.begun()
        if begun is not None:
            self.check_continues(begun, plan)
        else:
            write_text_atomically(self.folder / "run.json", json.dumps(plan.model_dump(mode="json"), indent=1) + "\n")

    def pin_data(self, fingerprints: Mapping[str, str]) -> None:
        """Write down which data the run reads, or check that they are the same as before.

        Raises:
            ConfigError: if the data changed: noise that was drawn for other data must not be used again.
        """
        path = self.folder / "data.json"
        content = json.dumps(dict(fingerprints), indent=1, sort_keys=True) + "\n"
        if not path.exists():
            write_text_atomically(path, content)
        elif path.read_text() != content:
            raise ConfigError(f"{self.folder} was begun with other data. Finish it with those, or delete the folder.")

    def _other_run(self, found: RunSpec) -> str:
        differing = [
            f"{name} {getattr(found, name)!r} instead of {getattr(self.spec, name)!r}"
            for name in RunSpec.model_fields
            if getattr(found, name) != getattr(self.spec, name)
        ]
        return f"{self.folder} holds another run: {', '.join(differing)}. Choose another --runs folder."

    def holds(self, objection: str) -> str:
        """Return in words that the folder holds a finished run that is not the one asked for.

        Args:
            objection: what is said of that run, such as ``Job.unlike`` does.
        """
        return (
            f"{self.folder} holds a finished run {objection}. "
            "Choose another --runs folder, or delete this one to run again."
        )

    def noise(self) -> tuple[NoiseSource, str]:
        """Return the run's noise source and the name of its session; see ``noise_of_folder``."""
        return noise_of_folder(self.folder)

    def forget_noise(self) -> None:
        """Delete the secret that makes the noise, and private values that an unfinished mechanism left."""
        forget_noise(self.folder)
        forget_hidden(self.state)

    def ledger_file(self, witness: IO[bytes] | None = None) -> LedgerFile:
        """Open the ledger.

        Args:
            witness: see ``LedgerFile``.

        Raises:
            RunError: if it is lost: what was released already could not be accounted for.
        """
        released = self.images_path.exists() or (self.state.exists() and any(self.state.iterdir()))
        return open_ledger(self.ledger_path, released, witness)

    def scores(self, metric: str) -> tuple[Score, ...] | None:
        """Return the stored scores of a metric, or None if it has to be computed."""
        path = self.folder / "scores" / f"{metric}.json"
        if not path.exists():
            return None
        return tuple(Score.from_plain(item) for item in json.loads(path.read_text()))

    def store_scores(self, metric: str, scores: tuple[Score, ...]) -> None:
        """Keep the scores of a metric."""
        content = [score.model_dump(mode="json") for score in scores]
        write_text_atomically(self.folder / "scores" / f"{metric}.json", json.dumps(content, allow_nan=False))

    def finish(self, record: RunRecord) -> None:
        """Write the record, last, and forget the noise."""
        write_text_atomically(self.record_path, record.to_json())
        self.forget_noise()

    def attempts(self) -> int:
        """Return how many runs of this method on this dataset and ε lie in the runs folder, this one included."""
        siblings = self.folder.parent.glob(f"eps{self.spec.epsilon:g}-*/run.json")
        return max(1, sum(1 for _ in siblings))
