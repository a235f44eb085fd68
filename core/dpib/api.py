"""The one module that plugins import. Light: what needs torch is loaded when first used.

``API_VERSION`` is (major, minor): minor versions only add; a major version removes after a deprecation cycle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dpib.__about__ import API_VERSION
from dpib.dataset_spec import BundledSource, DatasetSpec, HubSource, SplitRule
from dpib.errors import (
    BudgetExceeded,
    ConfigError,
    DataError,
    DpibError,
    MetricError,
    PluginError,
    PrivacyError,
    RecordError,
    RunError,
    StorageError,
    UnaccountedAccess,
    UnknownName,
    UnsupportedMechanism,
)
from dpib.grids.base import Outcome, Runner, RunnerCard, RunnerPlugin, RunnerSettings, Task
from dpib.hooks import hookimpl
from dpib.metrics.base import EvalInputs, Metric, MetricCard, MetricPlugin
from dpib.prelude import Prelude, PreludeCard, PreludePlugin
from dpib.privacy.events import SampledGaussian
from dpib.progress import RunEvent
from dpib.records import Score
from dpib.spec import ClassifierSpec, Family, FeatureSpec, MethodCard, Relation, TaskInfo, Track
from dpib.synthesizer import Method, MethodConfig, Synthesizer

if TYPE_CHECKING:
    from dpib.context import RunContext
    from dpib.data.images import LabelledImages, PublicDataset, Splits
    from dpib.data.public import classes_per_label
    from dpib.metrics.extractors import FeatureExtractor, build_extractor
    from dpib.privacy.dpsgd_plan import DpSgdPlan
    from dpib.privacy.hashing import RecordHash
    from dpib.privacy.parts import PartModel
    from dpib.privacy.private import PrivateDataset
    from dpib.privacy.rows import OuterProducts

__all__ = [
    "API_VERSION",
    "BudgetExceeded",
    "BundledSource",
    "ClassifierSpec",
    "ConfigError",
    "DataError",
    "DatasetSpec",
    "DpSgdPlan",
    "DpibError",
    "EvalInputs",
    "Family",
    "FeatureExtractor",
    "FeatureSpec",
    "HubSource",
    "LabelledImages",
    "Method",
    "MethodCard",
    "MethodConfig",
    "Metric",
    "MetricCard",
    "MetricError",
    "MetricPlugin",
    "Outcome",
    "OuterProducts",
    "PartModel",
    "PluginError",
    "Prelude",
    "PreludeCard",
    "PreludePlugin",
    "PrivacyError",
    "PrivateDataset",
    "PublicDataset",
    "RecordError",
    "RecordHash",
    "Relation",
    "RunContext",
    "RunError",
    "RunEvent",
    "Runner",
    "RunnerCard",
    "RunnerPlugin",
    "RunnerSettings",
    "SampledGaussian",
    "Score",
    "SplitRule",
    "Splits",
    "StorageError",
    "Synthesizer",
    "Task",
    "TaskInfo",
    "Track",
    "UnaccountedAccess",
    "UnknownName",
    "UnsupportedMechanism",
    "build_extractor",
    "classes_per_label",
    "hookimpl",
]

_NEEDS_TORCH = {
    "DpSgdPlan": "dpib.privacy.dpsgd_plan",
    "FeatureExtractor": "dpib.metrics.extractors",
    "LabelledImages": "dpib.data.images",
    "OuterProducts": "dpib.privacy.rows",
    "PartModel": "dpib.privacy.parts",
    "PrivateDataset": "dpib.privacy.private",
    "PublicDataset": "dpib.data.images",
    "RecordHash": "dpib.privacy.hashing",
    "RunContext": "dpib.context",
    "Splits": "dpib.data.images",
    "build_extractor": "dpib.metrics.extractors",
    "classes_per_label": "dpib.data.public",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)


def __dir__() -> list[str]:
    return __all__
