"""ImageReward of a synthetic set, computed by another Python in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from dpib.errors import MetricError
from dpib.metrics.base import EvalInputs, Metric
from dpib.records import Score
from dpib_image_reward import CARD
from dpib_image_reward.prompts import prompts

PYTHON = "DPIB_IMAGE_REWARD_PYTHON"
SHA256 = "DPIB_IMAGE_REWARD_SHA256"
WORKER = Path(__file__).with_name("worker.py")


class ImageReward(Metric):
    """``image-reward``: mean over all synthetic images, each with the prompt of its class. Sees no real image."""

    card = CARD

    def compute(self, inputs: EvalInputs) -> tuple[Score, ...]:
        """Return one score.

        Raises:
            MetricError: if the other environment is not named, fails, or its weights are not the confirmed ones.
        """
        python = os.environ.get(PYTHON)
        if not python:
            raise MetricError(f"{PYTHON} names no Python with image-reward. See the plugin's README for the commands.")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            images, labels = inputs.synthetic.images.numpy(), inputs.synthetic.labels.numpy()
            np.savez(folder / "images.npz", images=images, labels=labels)
            (folder / "prompts.json").write_text(json.dumps(prompts(inputs.task)))
            command = [python, str(WORKER), scratch, os.environ.get(SHA256, ""), inputs.device]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise MetricError(f"{PYTHON}={python} cannot be run: {error.strerror}.") from error
            answer = folder / "answer.json"
            if done.returncode != 0 or not answer.exists():
                last = " ".join(done.stderr.strip().splitlines()[-1:]) or f"exit code {done.returncode}"
                raise MetricError(f"ImageReward failed in {python}: {last}")
            found = json.loads(answer.read_text())
        if found["count"] != len(inputs.synthetic):
            raise MetricError(f"ImageReward scored {found['count']} of {len(inputs.synthetic)} images.")
        score = Score(
            metric=CARD.name,
            value=found["total"] / found["count"],
            higher_is_better=True,
            n_synthetic=len(inputs.synthetic),
            evaluator=f"ImageReward-v1.0, weights sha256:{found['sha256']}, prompts by class",
        )
        return (score,)
