from __future__ import annotations

from pathlib import Path

import pytest
import torch
from method_harness import Harness
from torch import Tensor

from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages
from dpib.data.load import load_splits


@pytest.fixture(scope="session")
def digits() -> LabelledImages:
    return load_splits(DIGITS).train


@pytest.fixture
def harness(tmp_path: Path, digits: LabelledImages) -> Harness:
    return Harness(tmp_path, digits)


@pytest.fixture
def balanced() -> Tensor:
    return torch.arange(200) % 10
