"""What a run needs, looked up and checked before anything expensive."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dpib import catalogue, config
from dpib.catalogue import InstalledMethod
from dpib.contribution import InstalledPrelude
from dpib.dataset_spec import DatasetSpec, FolderSource
from dpib.errors import ConfigError, PluginError
from dpib.machine import core_digest
from dpib.prelude import Anchor, Prelude, PreludeCard
from dpib.records import PreludeBlock, settings_of
from dpib.spec import (
    SELECTION,
    SHARE,
    MethodCard,
    RunSpec,
    Track,
    canonical_json,
    describe_validation_error,
    sha256_text,
)
from dpib.synthesizer import Synthesizer
from dpib.workspace import RunPlan

if TYPE_CHECKING:
    from dpib.data.images import PublicDataset


@dataclass(frozen=True)
class JobPrelude:
    """A prelude of a run with its settings."""

    installed: InstalledPrelude
    implementation: type[Prelude]
    resolved: config.Resolved

    @property
    def card(self) -> PreludeCard:
        """What the prelude says about itself."""
        return self.installed.card

    def block(self) -> PreludeBlock:
        """Return what the plan and the record say of it."""
        return PreludeBlock(
            name=self.card.name,
            distribution=self.installed.distribution,
            version=self.installed.version,
            source_digest=self.installed.source_digest,
            config=self.resolved.config.model_dump(mode="json"),
            layers=self.resolved.layers,
            changed=self.resolved.changed,
        )


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
    preludes: tuple[JobPrelude, ...] = ()

    def public_data(self, public: PublicDataset | None) -> dict[str, str]:
        """Return what the record says of public data: fingerprints of images, SHA-256 of weights."""
        images = {public.spec.name: public.data.fingerprint} if public and public.spec else {}
        return {**images, **self.resolved.config.public_weights()}

    def pretraining_basis(self) -> Mapping[str, Any]:
        """Return what pretraining depends on besides the images and the code."""
        config, task = self.resolved.config, self.dataset.task()
        basis = config.pretraining_basis(task)
        if basis is not None:
            return basis
        return {"method": self.spec.method, "config": config.model_dump(mode="json"), "task": task.canonical()}

    def shared_pretraining(self) -> str | None:
        """Return what tells public stages that runs share from one another; None if this run shares none.

        Images that a private query chose are pretrained on in the run's own state; what the query is made with is
        shared.
        """
        if self.public is None:
            return None
        queries = [one for one in self.preludes if one.card.anchor == "before-pretraining"]
        if queries:
            settings = [[one.card.name, one.resolved.config.model_dump(mode="json")] for one in queries]
            return canonical_json([settings, self.dataset.task().canonical(), self.public.name])
        drawn_by = self.spec.seed if self.spec.draws else None
        return canonical_json([self.pretraining_basis(), self.spec.public, self.spec.pretrain, drawn_by])

    @cached_property
    def _settings(self) -> dict[str, Any]:
        preludes = [one.block().model_dump(mode="json") for one in self.preludes]
        return settings_of({"config": self.resolved.config.model_dump(mode="json"), "preludes": preludes})

    def unlike(self, settings: Mapping[str, Any]) -> str:
        """Return in words which settings a recorded run of this spec had otherwise; empty if none.

        A setting that only one of both knows is no difference: it came or went with a version of the code.

        Args:
            settings: of the record, see ``settings_of``.
        """
        ours = self._settings
        changed = sorted(name for name in ours.keys() & settings.keys() if ours[name] != settings[name])
        return f"with another {', '.join(changed)}: the presets of {self.spec.method} changed since" if changed else ""

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
            preludes=tuple(prelude.block() for prelude in self.preludes),
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
    spec: RunSpec,
    track: Track,
    card: MethodCard,
    dataset: DatasetSpec,
    public: DatasetSpec | None,
    preludes: Sequence[PreludeCard],
) -> None:
    """Refuse a spec that the track or a card does not allow; all problems at once."""
    problems = []
    if spec.dataset not in track.datasets and not _is_own(dataset):
        others = [one.name for one in catalogue.tracks() if spec.dataset in one.datasets]
        elsewhere = f" (which is in --track {' and '.join(others)})" if others else ""
        problems.append(
            f"track {track.name} has the datasets {', '.join(track.datasets)}, not {spec.dataset}{elsewhere}"
        )
    if public and spec.public_dataset not in track.public_datasets and not _is_own(public):
        allowed = ", ".join(track.public_datasets) or "none"
        problems.append(f"track {track.name} has the public datasets {allowed}, not {spec.public_dataset}")
    if card.public_data == "unused" and spec.public_dataset:
        problems.append(f"{card.name} does not use public data; drop --public")
    needing = [one.name for one in preludes if one.public_data == "required"]
    if needing and not spec.public_dataset:
        problems.append(_needs_public(needing, track))
    if (spec.pretrain == "none") != (spec.public_dataset is None):
        problems.append(f"--pretrain {spec.pretrain} does not go with --public {spec.public}")
    problems += _prelude_problems(spec, card, preludes)
    if problems:
        raise ConfigError(f"This run is not possible: {'; '.join(problems)}.")


def _check_pretraining(spec: RunSpec, track: Track, job: Job) -> None:
    """Refuse a run without the pretraining that its method needs, with one it cannot use, or with two."""
    weights = job.resolved.config.public_weights()
    given = [f"--public {spec.public}"] if spec.public_dataset else []
    given += [f"--prelude {one.card.name}" for one in job.preludes]
    if weights and given:
        raise ConfigError(f"{', '.join(weights)} is the pretraining of this run: drop {' and '.join(given)}.")
    if job.method.card.public_data == "required" and not (weights or spec.public_dataset):
        raise ConfigError(f"This run is not possible: {_needs_public([job.method.card.name], track)}.")
    narrowed = any(one.card.anchor == "before-pretraining" for one in job.preludes)
    job.resolved.config.check_public(narrowed or spec.public_dataset is not None)


def _check_price(spec: RunSpec, job: Job) -> None:
    """Refuse a budget that the releases whose noise the settings fix exceed by themselves."""
    task, delta = job.dataset.task(), job.dataset.delta
    fixed = dict(job.resolved.config.fixed_releases(task))
    for one in job.preludes:
        theirs = one.resolved.config.fixed_releases(task)
        fixed |= {f"{one.card.name}.{name}": event for name, event in theirs.items()}
    if not fixed or not job.method.card.private:
        return
    from dpib.privacy.accountants import epsilon  # imports scipy; most plans go without it

    total = epsilon(tuple(fixed.values()), delta, "pld", job.track.relation)
    if total > spec.epsilon:
        raise ConfigError(
            f"This run is not possible: the releases with {' and '.join(fixed)} cost ε = {total:.4g} by themselves; "
            f"the budget is {spec.epsilon:.4g}. Raise --epsilon, or their noise: --set {next(iter(fixed))}=…"
        )


def _needs_public(names: Sequence[str], track: Track) -> str:
    examples = ", ".join(track.public_datasets) or "your own"
    return f"{' and '.join(names)} needs public data; add --public, e.g. one of {examples}"


def _prelude_problems(spec: RunSpec, card: MethodCard, preludes: Sequence[PreludeCard]) -> list[str]:
    """Return what is wrong with the preludes of a spec."""
    problems = []
    names = [one.name for one in preludes]
    if len(set(names)) < len(names):
        problems.append(f"--public {spec.public} selects by {SELECTION} already; drop --prelude {SELECTION}")
    narrowing = [one.name for one in preludes if one.anchor == "before-pretraining"]
    if len(set(narrowing)) > 1:
        problems.append(f"{' and '.join(narrowing)} both choose the images to pretrain on; one prelude can")
    if narrowing and spec.draws and not spec.selects:
        problems.append(f"{narrowing[0]} chooses from all public images, not from those of --public {spec.public}")
    if SELECTION in card.preludes and spec.public_share:
        problems.append(f"{card.name} selects its public images itself; give --public {spec.public_dataset}")
    if SELECTION in card.preludes and spec.pretrain == "unconditional":
        problems.append(f"{card.name} learns selected images under the labels they were selected for; drop --pretrain")
    problems += [
        f"{card.name} has {name} built in; drop --prelude {name}" for name in spec.preludes if name in card.preludes
    ]
    return problems


def can_learn_at(anchor: Anchor, synthesizer: type[Synthesizer]) -> bool:
    """Return whether a method can learn from the images of a prelude with this anchor."""
    pretrains = synthesizer.pretrain is not Synthesizer.pretrain
    if anchor == "before-pretraining":
        return pretrains
    return synthesizer.warms_up and (pretrains or synthesizer.warm_up is not Synthesizer.warm_up)


def _check_can_learn(spec: RunSpec, synthesizer: type[Synthesizer], preludes: Sequence[InstalledPrelude]) -> None:
    for prelude in preludes:
        if can_learn_at(prelude.card.anchor, synthesizer):
            continue
        able = []
        for method in catalogue.methods():
            with contextlib.suppress(PluginError):
                able += [method.card.name] if can_learn_at(prelude.card.anchor, method.load()) else []
        pretrains = synthesizer.pretrain is not Synthesizer.pretrain
        learns = "from public images, not from released ones" if pretrains else "from no image but the private ones"
        raise ConfigError(
            f"{spec.method} learns {learns}, so {prelude.card.name} cannot precede it. "
            f"Methods that can: {', '.join(able) or 'none'}."
        )


def _of_prelude(overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what ``--set NAME.key=value`` changes of a prelude."""
    return {key.removeprefix(f"{name}."): value for key, value in overrides.items() if key.startswith(f"{name}.")}


def _resolve_prelude(installed: InstalledPrelude, spec: RunSpec) -> JobPrelude:
    """Load a prelude and resolve its settings; a variant applies if its preset file has it."""
    implementation = installed.load()
    overrides = _of_prelude(spec.overrides, installed.card.name)
    if spec.selects and installed.card.name == SELECTION:
        overrides = {"share": SHARE} | overrides
    variant = spec.variant if spec.variant in config.variants(installed.prelude, implementation.Config) else None
    own = spec.model_copy(update={"overrides": overrides, "variant": variant})
    return JobPrelude(installed, implementation, config.resolve(installed.prelude, implementation.Config, own))


def _resolve_method(
    method: InstalledMethod, synthesizer: type[Synthesizer], preludes: Sequence[JobPrelude], spec: RunSpec
) -> config.Resolved:
    """Resolve the settings of the method; a variant may be that of a prelude alone."""
    theirs = {f"{one.card.name}.{key}" for one in preludes for key in _of_prelude(spec.overrides, one.card.name)}
    overrides = {key: value for key, value in spec.overrides.items() if key not in theirs}
    of_prelude = any(f"variant.{spec.variant}" in one.resolved.layers for one in preludes)
    ours = spec.variant is not None and spec.variant in config.variants(method.method, synthesizer.Config)
    variant = None if of_prelude and not ours else spec.variant
    own = spec.model_copy(update={"overrides": overrides, "variant": variant})
    return config.resolve(method.method, synthesizer.Config, own)


def prepare(spec: RunSpec) -> Job:
    """Look up and check everything a spec names, before anything expensive.

    Raises:
        ConfigError: a name, setting or combination is wrong, or the budget is too small for it.
        PluginError: the method or a prelude cannot be loaded.
    """
    track = catalogue.track(spec.track)
    dataset = catalogue.dataset(spec.dataset)
    public = catalogue.dataset(spec.public_dataset) if spec.public_dataset else None
    method = catalogue.method(spec.method)
    preludes = [catalogue.prelude(name) for name in spec.all_preludes]
    _check_rules(spec, track, method.card, dataset, public, [one.card for one in preludes])
    synthesizer = method.load()
    _check_can_learn(spec, synthesizer, preludes)
    resolved = tuple(_resolve_prelude(one, spec) for one in preludes)
    job = Job(
        spec=spec,
        track=track,
        dataset=dataset,
        public=public,
        method=method,
        synthesizer=synthesizer,
        resolved=_resolve_method(method, synthesizer, resolved, spec),
        preludes=resolved,
    )
    _check_pretraining(spec, track, job)
    _check_price(spec, job)
    return job
