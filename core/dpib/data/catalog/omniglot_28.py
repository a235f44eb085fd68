"""Omniglot at 28x28: handwritten characters of 30 alphabets, public grey images for pretraining."""

from dpib.dataset_spec import DatasetSpec, HubSource, SplitRule

_CHARACTERS = {
    "Alphabet_of_the_Magi": 20,
    "Anglo-Saxon_Futhorc": 29,
    "Arcadian": 26,
    "Armenian": 41,
    "Asomtavruli_(Georgian)": 40,
    "Balinese": 24,
    "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
    "Braille": 26,
    "Burmese_(Myanmar)": 34,
    "Cyrillic": 33,
    "Early_Aramaic": 22,
    "Futurama": 26,
    "Grantha": 43,
    "Greek": 24,
    "Gujarati": 48,
    "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Japanese_(hiragana)": 52,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Malay_(Jawi_-_Arabic)": 40,
    "Mkhedruli_(Georgian)": 41,
    "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Sanskrit": 42,
    "Syriac_(Estrangelo)": 23,
    "Tagalog": 17,
    "Tifinagh": 55,
}

CARD = DatasetSpec(
    name="omniglot-28",
    title="Omniglot (28x28)",
    role="public",
    source=HubSource(repo=None, revision=None, mirror="omniglot_28", splits={"train": "train"}),
    shape=(1, 28, 28),
    classes=tuple(
        f"{alphabet}/character{number:02d}" for alphabet, count in _CHARACTERS.items() for number in range(1, count + 1)
    ),
    split=SplitRule(kind="all-train", n_pool=19_280, sizes={"train": 19_280}),
    fingerprints={
        "train": "2bb3d488d2a66247eac7088eb01a817b8a3c0473ebedf0decd8ca161b65c8bfc",
    },
    licence="MIT",
    citation=(
        "B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum: Human-level concept learning through probabilistic program "
        "induction. Science 350(6266), 2015."
    ),
    homepage="https://github.com/brendenlake/omniglot",
    preprocessing=(
        "inverted (white on black), strokes thickened by a 3x3 maximum filter, box-averaged from 105x105 to 28x28"
    ),
    notes="The official background set: 964 characters, 20 drawings each. Not comparable with published Omniglot.",
)
