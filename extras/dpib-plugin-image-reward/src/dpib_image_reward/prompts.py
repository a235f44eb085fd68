"""The paper's prompts, filled with the class names of a dataset's card, so that they stand in label order."""

from __future__ import annotations

import re

from dpib.errors import MetricError
from dpib.spec import TaskInfo

TEMPLATES = {
    "mnist": "A grayscale image of a handwritten digit {name}",
    "fashion-mnist": "A grayscale image of {article} {name}",
    "cifar10": "An image of {article} {name}",
    "cifar100": "An image of {article} {name}",
    "eurosat": "A remote sensing image of {article} {name}",
    "celeba-male": "An image of a {name} face",
}
"""Dataset, or its name without the resolution -> template (Gong et al., DPImageBench, 2025, Appendix B.2.5)."""
FIXED = {"camelyon17": ("A normal lymph node image", "A lymph node histopathology image")}


def prompts(task: TaskInfo) -> tuple[str, ...]:
    """Return one prompt per class, in label order.

    Raises:
        MetricError: if the paper has no prompt for the dataset.
    """
    family = re.sub(r"-\d+$", "", task.dataset)
    if family in FIXED:
        return FIXED[family]
    if family not in TEMPLATES:
        raise MetricError(f"ImageReward needs prompts, and the paper has none for {task.dataset}.")
    names = [_words(name) for name in task.classes]
    return tuple(TEMPLATES[family].format(name=name, article=_article(name)) for name in names)


def _words(name: str) -> str:
    """Return a class name as words: ``"AnnualCrop"`` and ``"aquarium_fish"`` are two each."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return re.sub(r"\s*([-/])\s*", r"\1", apart).lower()


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"
