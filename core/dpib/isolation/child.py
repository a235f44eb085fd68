"""The process in which a plugin's code runs: the training side in, images and a witnessed ledger out.

It has no other side of the data, no network and no credential. Whatever it says is a claim: ``produce.py`` checks it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import torch

from dpib import plugins
from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import ConfigError, DpibError
from dpib.job import prepare
from dpib.privacy.ledger import Budget, PrivacyLedger
from dpib.progress import Reporter
from dpib.spec import RunSpec, canonical_json
from dpib.stages import produce
from dpib.workspace import Workspace

DEVICE = "cpu"


def load_side(folder: Path) -> LabelledImages:
    """Return the images that ``save_side`` of the parent left in a folder."""
    images, labels = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("images", "labels"))
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))


def work(inputs: Path, runs: Path, witness: int) -> None:
    """Run the method and tell the witness every charge, then how it ended.

    Args:
        inputs: folder with ``spec.json``, ``train/``, perhaps ``public/`` a plugin's file in ``plugin/``.
        runs: root of the run folder.
        witness: number of the pipe to the parent.
    """
    spec = RunSpec.model_validate_json((inputs / "spec.json").read_bytes())
    for file in sorted((inputs / "plugin").glob("*.py")):
        plugins.load_file(file)
    job = prepare(spec)
    if not job.method.card.private:
        raise ConfigError(f"{spec.method} is a reference without privacy; only private methods run isolated.")
    public = None
    if job.public is not None:
        from dpib.data.public import fit_to_task  # imports torchvision

        loaded = PublicDataset(job.public, load_side(inputs / "public"))
        public = fit_to_task(loaded, job.dataset.task(), conditional=spec.pretrain == "conditional")
    workspace = Workspace(runs, spec)
    with workspace.open(), os.fdopen(witness, "wb") as stream:
        workspace.begin(job.plan(DEVICE))
        noise, session = workspace.noise()
        budget = Budget(epsilon=spec.epsilon, delta=job.dataset.delta)
        ledger = PrivacyLedger(workspace.ledger_file(stream), "train", budget, session, job.track.relation)
        parameters = produce(job, workspace, load_side(inputs / "train"), public, ledger, noise, DEVICE, Reporter())
        workspace.forget_noise()
        digest = hashlib.sha256(workspace.images_path.read_bytes()).hexdigest()
        stream.write(canonical_json({"type": "end", "images": digest, "parameters": parameters}).encode() + b"\n")


def main() -> None:
    """``python -m dpib.isolation.child INPUTS RUNS --witness FD``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--witness", type=int, required=True)
    options = parser.parse_args()
    try:
        work(options.inputs, options.runs, options.witness)
    except DpibError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit("it needs more memory than it may use")


if __name__ == "__main__":
    main()
