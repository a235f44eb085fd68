"""Cards of a person's own datasets: one JSON file each, in ``DPIB_DATASETS``, else ``~/.config/dpib/datasets``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from dpib.dataset_spec import DatasetSpec, FolderSource
from dpib.errors import ConfigError
from dpib.files import write_text_atomically
from dpib.spec import describe_validation_error

ENVIRONMENT = "DPIB_DATASETS"
_log = logging.getLogger(__name__)


def cards_folder() -> Path:
    """Return where the cards are kept."""
    named = os.environ.get(ENVIRONMENT)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(named) if named else Path(home) / "dpib" / "datasets"


def own_cards(taken: Collection[str] = ()) -> tuple[DatasetSpec, ...]:
    """Return all own cards by name; a file that is no card, or bears a name of dpib, is left out with a warning.

    Args:
        taken: names that cannot be used.
    """
    cards = []
    for file in sorted(cards_folder().glob("*.json")):
        try:
            card = DatasetSpec.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            reason = describe_validation_error(error) if isinstance(error, ValidationError) else str(error)
            _log.warning("%s is not a dataset card and is left out: %s", file, reason)
            continue
        if card.name in taken or card.name != file.stem or not isinstance(card.source, FolderSource):
            _log.warning("%s is left out: it has to be named like its dataset, and like none of dpib's.", file)
            continue
        cards.append(card)
    return tuple(cards)


def refuse_taken(name: str, replace: bool) -> None:
    """Refuse a name that an own card has, unless it is to be replaced.

    Raises:
        ConfigError: says what to do.
    """
    file = cards_folder() / f"{name}.json"
    if file.exists() and not replace:
        raise ConfigError(f"There is a dataset '{name}' already ({file}). Choose another --name, or pass --replace.")


def save_own_card(card: DatasetSpec, replace: bool = False) -> Path:
    """Keep a card and return its file.

    Raises:
        ConfigError: if there is one of this name and it is not to be replaced.
    """
    refuse_taken(card.name, replace)
    file = cards_folder() / f"{card.name}.json"
    write_text_atomically(file, json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    return file
