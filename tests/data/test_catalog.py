from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dpib.data.catalog import CARDS
from dpib.spec import DatasetSpec, HubSource

by_name = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def test_the_catalogue_holds_what_is_promised() -> None:
    assert {card.name: card.role for card in CARDS} == {
        "digits": "sensitive",
        "mnist": "sensitive",
        "fashion-mnist": "sensitive",
        "cifar10-jpeg75": "sensitive",
        "pneumoniamnist": "sensitive",
        "omniglot-28": "public",
        "tiny-imagenet-32": "public",
    }


def test_mnist_has_the_delta_of_the_rules() -> None:
    mnist = next(card for card in CARDS if card.name == "mnist")
    assert mnist.delta == pytest.approx(1.666e-6, rel=1e-3)  # 1 / (55,000 ln 55,000)


@by_name
def test_a_card_is_complete(card: DatasetSpec) -> None:
    for text in (card.title, card.licence, card.citation, card.homepage, card.preprocessing, card.privacy_unit):
        assert text.strip()
    assert len(set(card.classes)) == len(card.classes) >= 2
    assert card.shape[0] in (1, 3)
    assert card.fingerprints.keys() == card.split.sizes.keys()


@by_name
def test_the_sizes_of_a_card_add_up(card: DatasetSpec) -> None:
    sizes, rule = card.split.sizes, card.split
    published = set(card.source.splits) if isinstance(card.source, HubSource) else {"pool"}
    pooled = [side for side in sizes if side not in published]
    assert sizes.keys() == ({"train", "validation", "test"} if card.role == "sensitive" else {"train"})
    if rule.kind == "ranked-hash":
        assert "pool" in published
        assert sum(sizes[side] for side in pooled) == rule.n_pool
    else:
        assert not pooled
        assert sum(sizes.values()) == rule.n_pool
    assert (rule.kind == "all-train") == (card.role == "public")


@by_name
def test_a_revision_is_a_commit_or_absent(card: DatasetSpec) -> None:
    if isinstance(card.source, HubSource):
        assert card.source.revision is None or re.fullmatch(r"[0-9a-f]{40}", card.source.revision)
        assert card.source.revision is None or card.source.repo


def test_cards_import_without_torch() -> None:
    code = "import sys, dpib.data.catalog; print(sorted({'torch', 'datasets', 'numpy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
