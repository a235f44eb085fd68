from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest

from dpib.data.catalog import CARDS
from dpib.dataset_spec import DatasetSpec, HubSource

by_name = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def test_the_catalogue_holds_what_is_promised() -> None:
    assert {card.name: card.role for card in CARDS} == {
        "digits": "sensitive",
        "mnist": "sensitive",
        "fashion-mnist": "sensitive",
        "cifar10": "sensitive",
        "cifar10-jpeg75": "sensitive",
        "cifar100": "sensitive",
        "eurosat": "sensitive",
        "celeba-male-32": "sensitive",
        "celeba-male-64": "sensitive",
        "celeba-male-128": "sensitive",
        "camelyon17": "sensitive",
        "pneumoniamnist": "sensitive",
        "imagenet-32": "public",
        "imagenet-64": "public",
        "imagenet-128": "public",
        "places365-32": "public",
        "omniglot-28": "public",
        "tiny-imagenet-32": "public",
    }


TABLE_V = {  # training, validation, test
    "mnist": (55_000, 5_000, 10_000),
    "fashion-mnist": (55_000, 5_000, 10_000),
    "cifar10": (45_000, 5_000, 10_000),
    "cifar100": (45_000, 5_000, 10_000),
    "eurosat": (21_000, 2_000, 4_000),
    "celeba-male-32": (145_064, 17_706, 19_962),
    "celeba-male-64": (145_064, 17_706, 19_962),
    "celeba-male-128": (145_064, 17_706, 19_962),
    "camelyon17": (269_538, 32_898, 34_904),
}


@pytest.mark.parametrize("name", TABLE_V)
def test_the_sizes_are_those_of_the_paper(name: str) -> None:
    card = next(card for card in CARDS if card.name == name)
    assert tuple(card.split.sizes[side] for side in ("train", "validation", "test")) == TABLE_V[name]


def test_what_nobody_has_loaded_here_says_so() -> None:
    unverified = {card.name for card in CARDS if not card.verified}
    assert unverified == {
        *(name for name in TABLE_V if name not in ("mnist", "fashion-mnist", "eurosat")),
        *("imagenet-32", "imagenet-64", "imagenet-128", "places365-32"),
    }
    for card in CARDS:
        assert card.verified or not card.fingerprints


def test_class_lists_have_the_order_of_their_sources() -> None:
    cards = {card.name: card for card in CARDS}
    for name, n in (("cifar100", 100), ("places365-32", 365), ("eurosat", 10)):
        assert cards[name].classes == tuple(sorted(cards[name].classes))
        assert len(cards[name].classes) == n
    listed = cards["imagenet-32"].classes
    assert len(listed) == 1000
    # Labels that any ImageNet classifier agrees on.
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 291: "lion", 817: "sports car"}
    assert all(listed[label].startswith(name) for label, name in known.items())
    assert listed[998:] == ("ear, spike, capitulum", "toilet tissue, toilet paper, bathroom tissue")


def test_the_lists_are_the_published_ones() -> None:
    places = next(card for card in CARDS if card.name == "places365-32").classes
    published = "\n".join(f"/{name[0]}/{name} {label}" for label, name in enumerate(places))
    # MD5 of categories_places365.txt, as its authors publish the file.
    assert hashlib.md5(published.encode()).hexdigest() == "06c963b85866bd0649f97cb43dd16673"


def test_several_people_per_image_are_said() -> None:
    cards = {card.name: card for card in CARDS}
    assert "patient" in cards["camelyon17"].notes
    assert "not for a person" in cards["celeba-male-64"].notes


def test_mnist_has_the_delta_of_the_rules() -> None:
    mnist = next(card for card in CARDS if card.name == "mnist")
    assert mnist.delta == pytest.approx(1.666e-6, rel=1e-3)  # 1 / (55,000 ln 55,000)


@by_name
def test_a_card_is_complete(card: DatasetSpec) -> None:
    for text in (card.title, card.licence, card.citation, card.homepage, card.preprocessing, card.privacy_unit):
        assert text.strip()
    assert len(set(card.classes)) == len(card.classes) >= 2
    assert card.shape[0] in (1, 3)
    assert not card.fingerprints or card.fingerprints.keys() == card.split.sizes.keys()


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
