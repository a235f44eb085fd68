"""Runs a method that is not trusted and takes over nothing but images, after comparing what it says with what it did.

The child gets the training side only. Its ledger streams to this process while it is charged; at the end the file on
its disk must equal the stream, the images must be those it announced, and its folder must hold nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

import dpib
from dpib.data.images import LabelledImages
from dpib.dataset_spec import DatasetSpec
from dpib.errors import ConfigError, DpibError, IsolationError, PrivacyError, RunError
from dpib.files import write_atomically
from dpib.isolation.jail import Jail, Protections, protections_here, unprotected
from dpib.isolation.limited import Limits, base_environment, run_limited
from dpib.loading import files_digest, source_files
from dpib.privacy.ledger import Charge, parse_charges
from dpib.spec import RunSpec, Track
from dpib.workspace import RunPlan, Workspace

MODULE = "dpib.isolation.child"
_SEEN_AS = "/inputs"
_MAY_LEAVE = {"run.json", "ledger.jsonl", "images.parquet", "grid.png", ".lock", "state"}
_PLAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Produced:
    """What came out of an isolated run.

    Attributes:
        ledger: the lines that were charged, as they were streamed; not priced yet.
        charges: of the training side.
        plan: what the child says it ran; its digest of the method is checked.
        parameters: number of the method's parameters, as the child says.
        protections: what was enforced while it ran.
    """

    ledger: bytes
    charges: tuple[Charge, ...]
    plan: RunPlan
    parameters: int | None
    protections: Protections


def require_confinement(unconfined: bool) -> Protections:
    """Return what protects a child on this machine.

    Args:
        unconfined: run it even if nothing keeps it from the network and the files.

    Raises:
        IsolationError: if it cannot be confined and ``unconfined`` is False.
    """
    here = protections_here()
    if here.confined:
        return here
    if not unconfined:
        raise IsolationError(
            f"This machine cannot keep a plugin from the network and from files: {here.reason}. Run it where "
            "unprivileged user namespaces are allowed, or as root; or say that you trust this code."
        )
    return unprotected(here.reason)


def produce_isolated(
    spec: RunSpec,
    track: Track,
    dataset: DatasetSpec,
    train: LabelledImages,
    images_to: Path,
    *,
    code: Path | None = None,
    digest: str | None = None,
    public: LabelledImages | None = None,
    limits: Limits | None = None,
    images_bytes: int = 1 << 30,
    unconfined: bool = False,
) -> Produced:
    """Run a method in a process of its own and write its images to ``images_to``, not decoded.

    Args:
        spec: what to run; its method comes from ``code``, or is built in.
        track: the rules.
        dataset: the card of the sensitive dataset.
        train: its training side; no other side reaches the child.
        images_to: where ``images.parquet`` goes. It is as hostile as its author: open it with a strict reader.
        code: a plugin's Python file, or a folder that ``pip install --target`` filled. Never imported here.
        digest: SHA-256 of the sources that must run; see ``code_digest``.
        public: the public images as loaded, where the spec names some.
        limits: what the child may use.
        images_bytes: largest file of images that is taken over.
        unconfined: run even where the network and the files cannot be closed; the result says so.

    Raises:
        IsolationError: the machine cannot confine the child.
        RunError: the child failed, was stopped, or left something it may not.
        PrivacyError: its ledger is not the one that was charged.
    """
    protections = require_confinement(unconfined)
    with tempfile.TemporaryDirectory(prefix="dpib-isolated-") as scratch:
        base, inputs, runs = (Path(scratch) / name for name in ("base", "inputs", "runs"))
        for folder in (base, inputs, runs):
            folder.mkdir(mode=0o755)
        _lay_out(inputs, spec, train, public, code)
        if digest is not None and digest != code_digest(spec.method, _copy_of(inputs, code)):
            raise ConfigError(f"{code or 'The installed package'} is not the code of {spec.method} with this digest.")
        jail = Jail(base, {inputs: _SEEN_AS, **_packages()}) if protections.confined else None
        seen = (_SEEN_AS, "/run-folder") if jail else (str(inputs), str(runs))
        ended = run_limited(
            [sys.executable, "-P", "-m", MODULE, *seen],
            limits or Limits(),
            environment=_environment(seen[0], spec.method),
            folder=runs,
            jail=jail,
            stream="--witness",
        )
        if ended.failure:
            raise RunError(f"{spec.method} in isolation {ended.failure}")
        return take_over(Workspace(runs, spec), ended.stream, track, dataset, images_to, images_bytes, protections)


def code_digest(method: str, code: Path | None) -> str:
    """Return the digest of the sources that a method comes from, without importing any but dpib's own.

    Args:
        method: its name.
        code: a plugin's file, or a folder of installed packages; None: a built-in method.

    Raises:
        ConfigError: if the folder holds no package, or more than one, that offers the method.
    """
    if code is None:
        from dpib.plugins import load_method

        return load_method(method).source_digest
    if code.is_file():
        return files_digest(source_files(code))
    offers = [
        entry.value.partition(":")[0].partition(".")[0]
        for distribution in distributions(path=[str(code)])
        for entry in distribution.entry_points
        if entry.group == "dpib" and entry.name == method
    ]
    if len(offers) != 1 or not offers[0].isidentifier():
        raise ConfigError(f"{code} must hold one package that offers the method {method}, it holds {len(offers)}.")
    package = code / offers[0]
    return files_digest(source_files(package if package.is_dir() else package.with_suffix(".py")))


def save_side(folder: Path, data: LabelledImages) -> None:
    """Write images for a child to read."""
    folder.mkdir(mode=0o755)
    np.save(folder / "images.npy", data.images.numpy(), allow_pickle=False)
    np.save(folder / "labels.npy", data.labels.numpy(), allow_pickle=False)


def _lay_out(
    inputs: Path, spec: RunSpec, train: LabelledImages, public: LabelledImages | None, code: Path | None
) -> None:
    """Copy what the child reads: it runs the copy of the code whose digest was taken."""
    (inputs / "spec.json").write_text(spec.canonical())
    save_side(inputs / "train", train)
    if public is not None:
        save_side(inputs / "public", public)
    copy = _copy_of(inputs, code)
    try:
        if code is not None and copy is not None and code.is_dir():
            shutil.copytree(code, copy, symlinks=True)
        elif code is not None and copy is not None:
            copy.parent.mkdir()
            shutil.copyfile(code, copy)
    except OSError as error:
        raise ConfigError(f"The code {code} cannot be read: {error.strerror}.") from error
    for path in inputs.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _copy_of(inputs: Path, code: Path | None) -> Path | None:
    """Return where the child finds the code: a file is loaded as a plugin, a folder is on the path."""
    if code is None:
        return None
    return inputs / "packages" if code.is_dir() else inputs / "plugin" / code.name


def _packages() -> dict[Path, str]:
    """Return where dpib and its built-in methods are; the leaderboard is not shown."""
    import dpib_plugins

    roots = [Path(root).resolve() for module in (dpib, dpib_plugins) for root in module.__path__]
    return {root: str(root) for root in roots}


def _environment(inputs: str, method: str) -> dict[str, str]:
    path = [*dict.fromkeys(str(root.parent) for root in _packages()), f"{inputs}/packages"]
    return {
        **base_environment(),
        "PYTHONPATH": ":".join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DPIB_PLUGINS": method,
        "HOME": "/tmp",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": "/tmp/hf",
    }


def take_over(
    workspace: Workspace,
    stream: bytes,
    track: Track,
    dataset: DatasetSpec,
    images_to: Path,
    images_bytes: int,
    protections: Protections,
) -> Produced:
    """Compare what the child left with what it said, and copy the images."""
    ledger, end = _split_stream(stream)
    for name in _strangers(workspace.runs, workspace.folder):
        raise RunError(f"{workspace.spec.method} left {name!r} in its run folder, which a run does not write.")
    on_disk = read_plain_file(workspace.ledger_path, len(ledger))
    if on_disk != ledger:
        raise PrivacyError(
            f"The ledger file of {workspace.spec.method} is not what it charged: {len(ledger)} bytes were streamed "
            "while it ran, and the file differs. It was edited, cut or replaced."
        )
    charges = _check_ledger(ledger, workspace.spec, track, dataset)
    images = read_plain_file(workspace.images_path, images_bytes)
    if hashlib.sha256(images).hexdigest() != end.get("images"):
        raise RunError(f"The images of {workspace.spec.method} were replaced after they were generated.")
    try:
        plan = RunPlan.model_validate_json(read_plain_file(workspace.folder / "run.json", _PLAN_BYTES))
    except ValueError as error:
        raise RunError(f"{workspace.spec.method} left a damaged run.json.") from error
    if plan.spec != workspace.spec:
        raise RunError(f"{workspace.spec.method} says that it ran something else than it was told to.")
    write_atomically(images_to, lambda file: file.write(images))
    parameters = end.get("parameters")
    return Produced(ledger, charges, plan, parameters if type(parameters) is int else None, protections)


def _split_stream(stream: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the ledger's bytes and the last message, which only a child that came to its end sends."""
    lines = stream.splitlines(keepends=True)
    try:
        end = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        end = None
    if not isinstance(end, dict) or end.get("type") != "end":
        raise PrivacyError("The method ended before its run did: its ledger may lack accesses.")
    return b"".join(lines[:-1]), end


def _check_ledger(ledger: bytes, spec: RunSpec, track: Track, dataset: DatasetSpec) -> tuple[Charge, ...]:
    """Return the charges of a ledger that opens the training side by the rules and nothing else."""
    opening = {
        "type": "open",
        "side": "train",
        "relation": track.relation.value,
        "epsilon": spec.epsilon,
        "delta": dataset.delta,
    }
    try:
        lines = [json.loads(line) for line in ledger.splitlines()]
        opened = [line for line in lines if line["type"] == "open"]
        charges, executed = parse_charges(lines)
    except (DpibError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PrivacyError("The streamed ledger is malformed.") from error
    if opened != [opening] or lines[0] != opening:
        raise PrivacyError("The streamed ledger does not open the training side by the rules of this track.")
    if any(charge.side != "train" or charge.assurance == "non-private" for charge in charges):
        raise PrivacyError("The streamed ledger charges something that a method may not.")
    if any(executed.get(charge.id, 0) > getattr(charge.event, "steps", 1) for charge in charges):
        raise PrivacyError("The streamed ledger executes more steps than it charges.")
    return tuple(charges)


def _strangers(runs: Path, folder: Path) -> Iterator[str]:
    """Yield what does not belong into a run folder: other names, links, devices, hard links."""
    home = folder.relative_to(runs).parts
    depth = len(home)
    for root, directories, files in os.walk(runs):
        here = Path(root)
        for name in (*directories, *files):
            path = here / name
            kind = path.lstat()
            regular = stat.S_ISDIR(kind.st_mode) or (stat.S_ISREG(kind.st_mode) and kind.st_nlink == 1)
            place = path.relative_to(runs).parts
            inside = place[:depth] == home and place[depth : depth + 1] and place[depth] in _MAY_LEAVE
            cached = place[:2] in ((".cache",), (".cache", "pretrain"))
            if not regular or not (home[: len(place)] == place or inside or cached):
                yield str(path.relative_to(runs))


def read_plain_file(path: Path, most: int) -> bytes:
    """Return a file's content without following a link, waiting on a pipe or reading more than ``most`` bytes.

    Raises:
        RunError: if it is missing, no plain file, or larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise RunError(f"{path.name} is not a plain file.")
            content = file.read(most + 1)
    except OSError as error:
        raise RunError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(content) > most and path.suffix != ".jsonl":
        raise RunError(f"{path.name} has more than {most} bytes.")
    return content
