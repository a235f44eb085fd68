"""A request for a release of a small folder of own images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from own_folder import CLASSES, write_images

from dpib.owner.request import Ask


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", (61, 112, 0))


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES) + "\n")
    return path


@pytest.fixture
def ask(images: Path, classes: Path, tmp_path: Path) -> Callable[..., Ask]:
    """Return a function that makes a quick request; keyword arguments change it."""

    def make(**changes: object) -> Ask:
        values: dict[str, object] = {
            "method": "dp-merf",
            "images": images,
            "out": tmp_path / "out",
            "epsilon": 5.0,
            "nominal_size": 200,
            "classes": classes,
            "n_images": 30,
            "track": "demo",
            "variant": "tiny",
        }
        return Ask(**(values | changes))  # type: ignore[arg-type]

    return make
