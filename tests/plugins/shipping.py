"""Sources of throw-away plugins, and a small stand-in for what comes with dpib."""

from __future__ import annotations

from collections.abc import Callable

from dpib.data.catalog import CARDS
from dpib.dataset_spec import DatasetSpec
from dpib.hooks import hookimpl
from dpib.metrics.base import MetricCard, MetricPlugin
from dpib.spec import ClassifierSpec, Track

Ship = Callable[..., None]

METHOD = """
from dpib.api import Family, Method, MethodCard, hookimpl

@hookimpl
def dpib_synthesizers():
    card = MethodCard(name="{name}", title="T", summary="S", family=Family.GAN, noise_location="model")
    return [Method(card, implementation="{implementation}")]
"""

DATASET = """
from dpib.api import hookimpl
from dpib.data.catalog import CARDS

@hookimpl
def dpib_datasets():
    return [CARDS[0].model_copy(update={{"name": "{name}"}})]
"""


def method_source(name: str, implementation: str = "nowhere:Class") -> str:
    """Return the source of a plugin module that registers one method."""
    return METHOD.format(name=name, implementation=implementation)


def dataset_source(name: str) -> str:
    """Return the source of a plugin module that registers one dataset."""
    return DATASET.format(name=name)


def make_track(name: str) -> Track:
    """Return a small track."""
    return Track(
        name=name,
        title="T",
        summary="S",
        datasets=("digits",),
        public_datasets=(),
        epsilons=(1.0,),
        n_images=10,
        metrics=("accuracy",),
        classifiers=(ClassifierSpec(name="tiny", epochs=1, batch_size=10, optimizer="adam", learning_rate=0.1),),
        features=None,
    )


class SmallBuiltIn:
    """Stands in for what comes with dpib."""

    @hookimpl
    def dpib_datasets(self) -> list[DatasetSpec]:
        return [card for card in CARDS if card.name in ("digits", "mnist")]

    @hookimpl
    def dpib_tracks(self) -> list[Track]:
        return [make_track(name) for name in ("lite-v1", "lite-v10", "lite-v2", "demo-v1")]

    @hookimpl
    def dpib_metrics(self) -> list[MetricPlugin]:
        card = MetricCard(name="accuracy", title="A", summary="S", higher_is_better=True)
        return [MetricPlugin(card, "nowhere:Accuracy")]
