"""``dpib datasets``: lists, cards, checks, and own images as datasets."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib import catalogue
from dpib.cli.options import parse_window
from dpib.cli.output import note, print_json, print_table
from dpib.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dpib.data.check import Presence
    from dpib.dataset_spec import DatasetSpec

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
UNVERIFIED = "unverified here"
"""Said of a dataset whose images nobody here has loaded: its card has no fingerprint of them."""


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show the card of this one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Look whether the images are here, and how large.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="With --check and a name: fetch what is absent.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of images; else DPIB_DATA.")] = None,
    json: Json = False,
) -> None:
    """List datasets, or show the card of one; dpib datasets add FOLDER makes own images one.

    With --check and a name, every image is read and compared with the card's fingerprints; exits with 3 and the
    command that helps if the dataset is not here or not what its card says.

        dpib datasets mnist --check
    """
    if (data_dir is not None or download) and not check:
        raise ConfigError("--data-dir and --download are used by --check only.")
    if download and name is None:
        raise ConfigError("--download takes the name of one dataset.")
    if name is None:
        cards = catalogue.datasets()
        _print_all(cards, _find_all(cards, data_dir) if check else None, json)
    elif check:
        _check_one(catalogue.dataset(name), data_dir, download, json)
    elif json:
        print_json(catalogue.dataset(name).model_dump(mode="json"))
    else:
        print_table(("field", "value"), _fields(catalogue.dataset(name)))


def add(
    folder: Annotated[Path, typer.Argument(help="One sub-folder per class, with PNG, JPEG, TIFF or DICOM files.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset; else the folder's.")] = None,
    nominal_size: Annotated[
        int | None, typer.Option(help="About how many images there are, from public knowledge; δ follows from it.")
    ] = None,
    count_is_public: Annotated[
        bool, typer.Option("--count-is-public", help="Everybody may know how many images there are.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Public images for pretraining, which no guarantee covers.")
    ] = False,
    classes: Annotated[Path | None, typer.Option(help="Class names in label order, one a line; else sorted.")] = None,
    shares: Annotated[str, typer.Option(help="Per cent of train, validation and test.")] = "80,10,10",
    size: Annotated[int, typer.Option(help="Side in pixels that images are cropped and resized to.")] = 32,
    colour: Annotated[bool, typer.Option("--colour/--grey", help="Three channels or one; never detected.")] = False,
    window: Annotated[str | None, typer.Option(help="LOW:HIGH, shown black and white, for deep images.")] = None,
    title: Annotated[str, typer.Option(help="Title on the card.")] = "",
    licence: Annotated[str, typer.Option(help="Licence on the card.")] = "not stated",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an own dataset of this name.")] = False,
    json: Json = False,
) -> None:
    """Make a folder of own images a dataset: for benchmarking, or with --public for pretraining.

    A record's side follows from a salted hash of its file name. Scores and fingerprints of a dataset are exact
    statistics of its images: for images that must stay private, use dpib synthesize.

        dpib datasets add photos --name my-photos --count-is-public --colour

        dpib run dp-merf --dataset my-photos --epsilon 10 --track lite
    """
    from pydantic import ValidationError

    from dpib.data.add import OwnDataset, add_folder
    from dpib.spec import describe_validation_error

    if not public and (nominal_size is None) != count_is_public:
        raise ConfigError("Say how many images there are: either --nominal-size N, or --count-is-public.")
    if public and nominal_size is not None:
        raise ConfigError("--public images are counted; drop --nominal-size.")
    try:
        own = OwnDataset(
            name=name or re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-"),
            public=public,
            nominal_size=nominal_size,
            shares=_parse_shares(shares),
            side=size,
            colour=colour,
            window=parse_window(window),
            title=title,
            licence=licence,
        )
    except ValidationError as error:
        raise ConfigError(f"Cannot use these settings: {describe_validation_error(error)}.") from error
    card = add_folder(folder, own, classes, replace)
    if json:
        print_json(card.model_dump(mode="json"))
    else:
        print_table(("field", "value"), _fields(card))
    if public:
        note(f"Pretrain on it: dpib run METHOD --dataset D --epsilon E --public {card.name}")
    else:
        note(
            f"Scores on {card.name} and the fingerprints on its card are exact statistics of these images. If they "
            f"must stay private, use dpib synthesize.\nRun on it: dpib run dp-merf --dataset {card.name} --epsilon 10"
        )


def _parse_shares(text: str) -> tuple[int, int, int]:
    try:
        train, validation, test = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"Expected --shares 80,10,10, got '{text}'.") from error
    return train, validation, test


def _find_all(cards: tuple[DatasetSpec, ...], data_dir: Path | None) -> dict[str, Presence]:
    from dpib.data.check import find

    return {card.name: find(card, data_dir) for card in cards}


def _print_all(cards: tuple[DatasetSpec, ...], found: dict[str, Presence] | None, json: bool) -> None:
    if json:
        print_json([card.model_dump(mode="json") | (asdict(found[card.name]) if found else {}) for card in cards])
    elif found is None:
        titles = ("name", "role", "shape", "classes", "training images", "licence", "title", "")
        print_table(titles, (_row(card) for card in cards))
    else:
        rows = (_presence_row(card, found[card.name]) for card in cards)
        print_table(("name", "here", "MB", "gated", "licence", "where, or what to do"), rows)


def _check_one(card: DatasetSpec, data_dir: Path | None, download: bool, json: bool) -> None:
    from dpib.data.check import check
    from dpib.progress import terminal_reporter

    with terminal_reporter(quiet=json) as reporter:
        found = check(card, data_dir, download, reporter)
    if json:
        print_json(card.model_dump(mode="json") | asdict(found))
    else:
        rows = (
            ("here", "yes" if found.present else "no"),
            ("where", found.place),
            ("MB on disk", _megabytes(found.bytes)),
            ("MB prepared from it", _megabytes(found.prepared_bytes or None)),
            ("licence", card.licence),
            ("gated", "yes" if card.gated else "no"),
            ("fingerprints", _verdict(found)),
        )
        print_table((card.name, ""), rows)
    if found.problem:
        raise DataError(found.problem)


def _verdict(found: Presence) -> str:
    texts = {"matches": "match", "unknown": f"{UNVERIFIED}: none on the card", None: "not compared"}
    return texts[found.fingerprint]


def _megabytes(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:.1f}"


def _row(card: DatasetSpec) -> tuple[object, ...]:
    shape = "x".join(map(str, card.shape))
    state = "" if card.verified else UNVERIFIED
    return card.name, card.role, shape, len(card.classes), card.nominal_size, card.licence, card.title, state


def _fields(card: DatasetSpec) -> list[tuple[str, object]]:
    plain = card.model_dump(mode="json")
    plain["classes"] = f"{len(card.classes)}: {', '.join(card.classes[:100])}{', …' if len(card.classes) > 100 else ''}"
    if not card.verified:
        plain["fingerprints"] = f"{UNVERIFIED}: nobody has loaded it yet; the first load says what to put on the card"
    rows = [(key, value) for key, value in plain.items() if value not in (None, "", [], {})]
    return [*rows, ("delta", f"{card.delta:.4g}")]


def _presence_row(card: DatasetSpec, found: Presence) -> tuple[object, ...]:
    where = found.problem or found.place
    gated = "yes" if card.gated else ""
    return card.name, "yes" if found.present else "no", _megabytes(found.bytes), gated, card.licence, where
