"""From a folder of own images to a dataset card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from dpib import own_cards
from dpib.data.catalog import CARDS
from dpib.data.folder import preprocessing_of, read_folder
from dpib.data.own import check_classes, count_own, found_classes, read_classes
from dpib.dataset_spec import DatasetSpec, FolderSource, SplitRule
from dpib.errors import ConfigError, DataError
from dpib.spec import Frozen, Name, describe_validation_error


class OwnDataset(Frozen):
    """What its owner says about a folder of images.

    Attributes:
        public: free of privacy cost, for pretraining; else sensitive, for benchmarking.
        nominal_size: public number of all images, or None if their count is public.
        shares: percentages of train, validation and test.
        side: height and width in pixels of every image as methods see it.
    """

    name: Name
    public: bool = False
    nominal_size: int | None = Field(default=None, ge=10)
    shares: tuple[int, int, int] = (80, 10, 10)
    side: int = 32
    colour: bool = False
    window: tuple[float, float] | None = None
    title: str = ""
    licence: str = "not stated"

    @model_validator(mode="after")
    def _shares_are_shares(self) -> OwnDataset:
        if sum(self.shares) != 100 or min(self.shares) < 1:
            raise ValueError("expected shares of train, validation and test that add up to 100, such as 80,10,10")
        return self


def add_folder(folder: Path, own: OwnDataset, classes: Path | None = None, replace: bool = False) -> DatasetSpec:
    """Read a folder once, write its card, and return the card.

    Args:
        folder: one sub-folder per class.
        own: what its owner says.
        classes: file of class names, one a line, in label order; else the names of the sub-folders, sorted.
        replace: whether an own card of this name may be replaced.

    Raises:
        ConfigError: if the name is taken or a setting does not fit.
        DataError: names the first file that cannot be used.
    """
    if any(card.name == own.name for card in CARDS) or own.name == "add":
        raise ConfigError(f"dpib has a dataset or command '{own.name}' itself. Choose another --name.")
    if not folder.is_dir():
        raise DataError(f"Expected a folder with one sub-folder per class, got '{folder}'.")
    own_cards.refuse_taken(own.name, replace)
    names = found_classes(folder) if classes is None else read_classes(classes)
    check_classes(names, str(classes or folder))
    total = own.nominal_size or count_own(folder)
    shape = (3 if own.colour else 1, own.side, own.side)
    try:
        how = preprocessing_of(shape, own.window)
    except ValidationError as error:
        raise ConfigError(f"Cannot use these settings: {describe_validation_error(error)}.") from error
    card = DatasetSpec(
        name=own.name,
        title=own.title or own.name,
        role="public" if own.public else "sensitive",
        source=FolderSource(path=str(folder.resolve()), window=own.window),
        shape=shape,
        classes=names,
        split=SplitRule(kind="all-train" if own.public else "name-hash", n_pool=total, sizes=_sizes(total, own)),
        fingerprints={},
        licence=own.licence,
        citation="own images",
        homepage="none",
        preprocessing=how.describe(),
        notes="Own images, added by dpib datasets add; results on them are not submitted.",
    )
    sides = read_folder(card, FolderSource(path=str(folder.resolve()), window=own.window))
    card = card.model_copy(update={"fingerprints": {side: data.fingerprint for side, data in sides.items()}})
    own_cards.save_own_card(card, replace)
    return card


def _sizes(total: int, own: OwnDataset) -> Mapping[str, int]:
    if own.public:
        return {"train": total}
    validation, test = (max(1, round(total * share / 100)) for share in own.shares[1:])
    return {"train": total - validation - test, "validation": validation, "test": test}
