"""What a data owner asks for: public choices only, checked before anything expensive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from dpib import catalogue
from dpib.data.own import check_classes, count_own, found_classes, read_classes
from dpib.data.pixels import Preprocessing
from dpib.dataset_spec import DatasetSpec
from dpib.errors import ConfigError, DataError
from dpib.job import Job, make_spec, prepare
from dpib.privacy.groups import MAX_GROUP
from dpib.spec import Frozen, Relation, TaskInfo, Track, delta_for, describe_validation_error
from dpib.workspace import RunPlan

DATASET = "own-images"
"""Name a method is told; it says nothing about the images."""

MIN_NOMINAL_SIZE = 100
"""Smallest N₀: δ = 1/(N₀ ln N₀) is 0.2 % there. Stating more images than there are costs quality alone."""

ImageFormat = Literal["png", "parquet"]

_COUNT_IS_PRIVATE = (
    "How many images there are is private: whether one more person is in the set must not show, and δ and the method's "
    "constants would show it if they followed the count. State a round size from public knowledge with --nominal-size "
    "N (it need not be exact), or declare that everybody may know the count with --count-is-public."
)
_NAMES_ARE_PRIVATE = (
    "Which classes occur is private: a rare one exists only because somebody has it. List the classes that could occur "
    "in a file, one a line, with --classes FILE, or declare that everybody may know the folder names with "
    "--folders-are-public."
)


@dataclass(frozen=True)
class Ask:
    """The options of ``dpib synthesize``; see its help. Paths and what is declared public about the images."""

    method: str
    images: Path
    out: Path
    epsilon: float
    nominal_size: int | None = None
    count_is_public: bool = False
    classes: Path | None = None
    folders_are_public: bool = False
    images_per_person: int = 1
    title: str = "the owner's images"
    side: int | None = None
    colour: bool = False
    window: tuple[float, float] | None = None
    n_images: int | None = None
    image_format: ImageFormat = "png"
    track: str = "lite"
    public: str = "none"
    pretrain: str | None = None
    variant: str | None = None
    overrides: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    seed: int = 0


class Request(Frozen):
    """What is asked for, resolved; every value is public. Part of the certificate.

    Attributes:
        nominal_size: N₀, by which methods divide and which gives δ.
        size_is: whether N₀ was stated, or is the count that the owner declared public.
        images_per_person: K of the group guarantee.
        n_images: images to generate, the classes in turn.
    """

    title: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    classes: tuple[str, ...]
    classes_are: Literal["listed", "folder names, declared public"]
    nominal_size: int = Field(ge=MIN_NOMINAL_SIZE, le=10**9)
    size_is: Literal["stated", "the count, declared public"]
    images_per_person: int = Field(default=1, ge=1, le=MAX_GROUP)
    preprocessing: Preprocessing
    n_images: int = Field(ge=1, le=1_000_000)
    image_format: ImageFormat = "png"


class Plan(Frozen):
    """What the folder of a release was begun for: the request, and the method's settings and code."""

    request: Request
    settings: RunPlan


@dataclass(frozen=True)
class OwnerJob:
    """A request with everything it names, looked up and checked; no pixel is read yet.

    Attributes:
        settings: a run of the benchmark whose settings are used: that of the dataset nearest in size.
    """

    images: Path
    out: Path
    request: Request
    settings: Job

    @property
    def task(self) -> TaskInfo:
        """The public facts that the method is told."""
        request = self.request
        return TaskInfo(
            dataset=DATASET,
            shape=request.preprocessing.shape,
            classes=request.classes,
            nominal_size=request.nominal_size,
        )

    @property
    def delta(self) -> float:
        """δ = 1/(N₀ ln N₀)."""
        return delta_for(self.request.nominal_size)

    def plan(self, device: str) -> Plan:
        """Return what the folder is begun for."""
        return Plan(request=self.request, settings=self.settings.plan(device))


def nearest_dataset(track: Track, channels: int, side: int | None, nominal_size: int) -> DatasetSpec:
    """Return the track's dataset whose presets fit best, by public facts: channels, then side, then nominal size."""

    def distance(card: DatasetSpec) -> tuple[bool, float, float]:
        return (
            card.shape[0] != channels,
            0.0 if side is None else abs(math.log(card.shape[1] / side)),
            abs(math.log(card.nominal_size / nominal_size)),
        )

    return min((catalogue.dataset(name) for name in track.datasets), key=distance)


def resolve(ask: Ask) -> OwnerJob:
    """Look up and check everything that is asked for.

    Reads the images' count or folder names only where they are declared public.

    Raises:
        ConfigError: an option is wrong, or something private would be used without having been declared public.
        DataError: there is nothing at the path.
        PluginError: the method cannot be loaded.
    """
    if not ask.images.exists():
        raise DataError(f"No images at {ask.images}: give a folder with one sub-folder per class, or a parquet file.")
    _check_folders(ask.images, ask.out)
    card = catalogue.method(ask.method).card
    if not card.private:
        raise ConfigError(f"{card.name} reads images without protection; what it makes must not be released.")
    if (ask.nominal_size is None) != ask.count_is_public:
        raise ConfigError(
            "Give one of --nominal-size and --count-is-public." if ask.nominal_size else _COUNT_IS_PRIVATE
        )
    if (ask.classes is None) != ask.folders_are_public:
        raise ConfigError("Give one of --classes and --folders-are-public." if ask.classes else _NAMES_ARE_PRIVATE)
    track = catalogue.track(ask.track)
    if track.relation is not Relation.ADD_OR_REMOVE_ONE:
        raise ConfigError(f"Own images are protected under add-or-remove-one; {track.name} has {track.relation}.")
    size = count_own(ask.images) if ask.nominal_size is None else ask.nominal_size
    if size < MIN_NOMINAL_SIZE:
        raise ConfigError(
            f"Expected a nominal size of at least {MIN_NOMINAL_SIZE}, got {size}: δ = 1/(N₀ ln N₀) is not small "
            f"for fewer. State --nominal-size {MIN_NOMINAL_SIZE}; it need not be exact."
        )
    if ask.side is not None and ask.side < 4:
        raise ConfigError(f"Expected --size of at least 4 pixels, got {ask.side}.")
    nearest = nearest_dataset(track, 3 if ask.colour else 1, ask.side, size)
    spec = make_spec(
        ask.method,
        nearest.name,
        ask.epsilon,
        track.name,
        ask.seed,
        ask.public,
        ask.pretrain,
        variant=ask.variant,
        overrides=dict(ask.overrides),
    )
    try:
        request = Request(
            title=ask.title,
            classes=read_classes(ask.classes) if ask.classes else check_classes(found_classes(ask.images), "Folders"),
            classes_are="listed" if ask.classes else "folder names, declared public",
            nominal_size=size,
            size_is="stated" if ask.nominal_size is not None else "the count, declared public",
            images_per_person=ask.images_per_person,
            preprocessing=Preprocessing(
                side=nearest.shape[1] if ask.side is None else ask.side, colour=ask.colour, window=ask.window
            ),
            n_images=track.n_images if ask.n_images is None else ask.n_images,
            image_format=ask.image_format,
        )
    except ValidationError as error:
        raise ConfigError(f"Not possible: {describe_validation_error(error)}.") from error
    return OwnerJob(ask.images, ask.out, request, prepare(spec))


def _check_folders(images: Path, out: Path) -> None:
    ours, theirs = out.resolve(), images.resolve()
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
        raise ConfigError(f"The release {out} and the images {images} must not lie in one another.")


def remarks(counts: Sequence[int], request: Request) -> list[str]:
    """Return what the owner should know about the images. Private: for stderr alone.

    Args:
        counts: number of images found per class.
        request: what was asked for.
    """
    found = sum(counts)
    told = [f"Found {found} images (private: said here only)."]
    if request.size_is == "stated" and not 0.5 <= found / request.nominal_size <= 2:
        told.append(
            f"That is far from the nominal size {request.nominal_size}. The guarantee holds all the same, but the "
            "method divides by the nominal size, so quality suffers; and δ should be well below 1 over the count."
        )
    empty = [name for name, count in zip(request.classes, counts, strict=True) if not count]
    if empty:
        told.append(f"No images of: {', '.join(empty[:10])}. Their synthetic images will show noise only.")
    return told
