"""What a run needs, looked up and checked before anything expensive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from dpib import catalogue, config
from dpib.catalogue import InstalledMethod
from dpib.dataset_spec import DatasetSpec, FolderSource
from dpib.errors import ConfigError, UnknownName
from dpib.machine import core_digest
from dpib.spec import MethodCard, RunSpec, Track, describe_validation_error, sha256_text
from dpib.synthesizer import Synthesizer
from dpib.workspace import RunPlan


@dataclass(frozen=True)
class Job:
    """A spec with everything it names, looked up and checked; nothing is loaded yet."""

    spec: RunSpec
    track: Track
    dataset: DatasetSpec
    public: DatasetSpec | None
    method: InstalledMethod
    synthesizer: type[Synthesizer]
    resolved: config.Resolved

    def plan(self, device: str) -> RunPlan:
        """Return what the run folder is begun for.

        Args:
            device: the torch device the run uses.
        """
        cards = [card.canonical() for card in (self.track, self.dataset, self.public) if card is not None]
        return RunPlan(
            spec=self.spec,
            config=self.resolved.config.model_dump(mode="json"),
            layers=self.resolved.layers,
            changed=self.resolved.changed,
            distribution=self.method.distribution,
            version=self.method.version,
            method_digest=self.method.source_digest,
            core_digest=core_digest(),
            rules_digest=sha256_text("\n".join(cards)),
            device=device,
            torch_version=version("torch"),
        )


def make_spec(
    method: str,
    dataset: str,
    epsilon: float,
    track: str = "lite",
    seed: int = 0,
    public: str = "none",
    pretrain: str | None = None,
    preludes: Sequence[str] = (),
    variant: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> RunSpec:
    """Return the validated spec; ``track`` may be a family name, ``pretrain`` follows ``public`` when not given.

    Raises:
        ConfigError: names every field that is wrong.
    """
    values = {
        "method": method,
        "dataset": dataset,
        "epsilon": epsilon,
        "track": catalogue.track(track).name,
        "seed": seed,
        "public": public,
        "pretrain": pretrain or ("none" if public == "none" else "conditional"),
        "preludes": tuple(preludes),
        "variant": variant,
        "overrides": overrides or {},
    }
    try:
        return RunSpec.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"Not a run: {describe_validation_error(error)}.") from error


def _is_own(dataset: DatasetSpec) -> bool:
    """Whether these are a person's own images: they run under any track's rules, and are never submitted."""
    return isinstance(dataset.source, FolderSource)


def _check_rules(
    spec: RunSpec, track: Track, card: MethodCard, dataset: DatasetSpec, public: DatasetSpec | None
) -> None:
    """Refuse a spec that the track or the method's card does not allow; all problems at once."""
    problems = []
    if spec.dataset not in track.datasets and not _is_own(dataset):
        problems.append(f"track {track.name} has the datasets {', '.join(track.datasets)}, not {spec.dataset}")
    if public and spec.public_dataset not in track.public_datasets and not _is_own(public):
        allowed = ", ".join(track.public_datasets) or "none"
        problems.append(f"track {track.name} has the public datasets {allowed}, not {spec.public_dataset}")
    if spec.public_share:
        problems.append(f"no installed prelude selects a share of public data ('{spec.public}')")
    if card.public_data == "unused" and spec.public_dataset:
        problems.append(f"{card.name} does not use public data; drop --public")
    if card.public_data == "required" and not spec.public_dataset:
        problems.append(f"{card.name} needs public data; add --public, e.g. one of {', '.join(track.public_datasets)}")
    if problems:
        raise ConfigError(f"This run is not possible: {'; '.join(problems)}.")
    if spec.preludes:
        raise UnknownName("prelude", spec.preludes[0], ())


def prepare(spec: RunSpec) -> Job:
    """Look up and check everything a spec names, before anything expensive.

    Raises:
        ConfigError: a name, setting or combination is wrong.
        PluginError: the method cannot be loaded.
    """
    track = catalogue.track(spec.track)
    dataset = catalogue.dataset(spec.dataset)
    public = catalogue.dataset(spec.public_dataset) if spec.public_dataset else None
    method = catalogue.method(spec.method)
    _check_rules(spec, track, method.card, dataset, public)
    synthesizer = method.load()
    return Job(
        spec=spec,
        track=track,
        dataset=dataset,
        public=public,
        method=method,
        synthesizer=synthesizer,
        resolved=config.resolve(method.method, synthesizer.Config, spec),
    )
