"""Runs in ImageReward's own environment, without dpib: ``python worker.py FOLDER SHA256 DEVICE``.

Reads ``images.npz`` and ``prompts.json``, writes ``answer.json``. Weights and configuration are the files that
the package itself would download, ``~/.cache/ImageReward/ImageReward.pt`` and ``med_config.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

BATCH = 64


def main(folder: Path, sha256: str, device: str) -> None:
    """Score every image with the prompt of its class."""
    cache = Path.home() / ".cache" / "ImageReward"
    weights, config = cache / "ImageReward.pt", cache / "med_config.json"
    for file in (weights, config):
        if not file.is_file():
            sys.exit(f"{file} is missing. See the plugin's README for the commands that place it.")
    found = _digest(weights)
    if not sha256:
        sys.exit(
            f"{weights} has SHA-256 {found}, which nobody confirmed. Compare it with the publisher's, then: "
            f"export DPIB_IMAGE_REWARD_SHA256={found}"
        )
    if found != sha256:
        sys.exit(f"{weights}: expected SHA-256 {sha256}, got {found}; not loaded.")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    import ImageReward
    import numpy as np
    from PIL import Image

    model = ImageReward.load(str(weights), device=device, med_config=str(config))
    prompts = json.loads((folder / "prompts.json").read_text())
    data = np.load(folder / "images.npz", allow_pickle=False)
    total, count = 0.0, 0
    for label, prompt in enumerate(prompts):
        chosen = data["images"][data["labels"] == label]
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            pictures = [Image.fromarray(_rgb(image)) for image in batch]
            rewards = np.atleast_1d(model.score(prompt, pictures))
            total, count = total + float(rewards.sum()), count + len(rewards)
    (folder / "answer.json").write_text(json.dumps({"total": total, "count": count, "sha256": found}))


def _rgb(image):  # type: ignore[no-untyped-def]
    """Return (H, W, 3) of an image (C, H, W) with one or three channels."""
    return image.repeat(3, axis=0).transpose(1, 2, 0) if len(image) == 1 else image.transpose(1, 2, 0)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
