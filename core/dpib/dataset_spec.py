"""What a dataset is: its card, where its images come from, how they are divided. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from dpib.spec import Digest, Frozen, Name, TaskInfo, delta_for


class Layout(Frozen):
    """Where a copy of a dataset keeps what.

    Attributes:
        splits: our role of a source split -> its name in the copy, e.g. ``{"pool": "train", "test": "test"}``; several
            are joined in order by ``+``.
        image_column: column that holds the image.
        label_column: column that holds the label.
        labels: ``"classes"``: a ClassLabel column whose names are the card's. ``"flag"``: true or false; false is
            class 0.
        aliases: class names of the copy that differ from the card's -> the card's.
        name_column: column of file names; None: the image's own path.
    """

    splits: Mapping[str, str]
    image_column: str = "image"
    label_column: str = "label"
    labels: Literal["classes", "flag"] = "classes"
    aliases: Mapping[str, str] = Field(default_factory=dict)
    name_column: str | None = None


class HubSource(Layout):
    """A dataset repository on the Hugging Face Hub, or its mirror below ``DPIB_DATA``.

    Attributes:
        repo: Hub id, or None when no published copy is known to match (then only the mirror serves it).
        revision: commit of the Hub repository; None until somebody has seen and checked one.
        mirror: folder name below ``DPIB_DATA``.
        order: what numbers the records of a split from 0: their place in the copy, or the rank of their file name.
        hub: layout of the Hub's copy where it differs from the mirror's.
    """

    kind: Literal["hub"] = "hub"
    repo: str | None
    revision: str | None
    mirror: str
    order: Literal["stored", "file-name"] = "stored"
    hub: Layout | None = None


class FolderSource(Frozen):
    """A person's own images: one sub-folder per class, named like it (``dpib datasets add``).

    Attributes:
        path: absolute path of the folder.
        window: (low, high) for images deeper than 8 bits: low and below become 0, high and above 255.
    """

    kind: Literal["folder"] = "folder"
    path: str
    window: tuple[float, float] | None = None


class BundledSource(Frozen):
    """Images that ship inside an installed library."""

    kind: Literal["bundled"] = "bundled"
    library: Literal["scikit-learn"] = "scikit-learn"
    loader: Literal["load_digits"] = "load_digits"


class SplitRule(Frozen):
    """How records of a catalogue dataset are divided.

    Attributes:
        kind: ``"ranked-hash"``: a record's side is the rank of a salted hash of its nominal id in 0..n_pool-1.
            ``"published"``: the source's own splits. ``"all-train"``: public data, one side.
            ``"name-hash"``: thresholds on a salted hash of the file name, in the proportion of ``sizes``.
        n_pool: nominal size of the pool that is divided; it only numbers ids.
        sizes: records per side, ``train``/``validation``/``test``; nominal for ``"name-hash"``.
    """

    kind: Literal["ranked-hash", "published", "all-train", "name-hash"]
    n_pool: int
    sizes: Mapping[str, int]


Step = Literal["to-rgb", "to-grey", "centre-crop", "lanczos"]
"""What is done to each image at load; ``dpib.data.steps`` says what each step is, to the pixel."""


class DatasetSpec(Frozen):
    """A dataset card: public facts only.

    Attributes:
        steps: what dpib does to each image at load to bring it to ``shape``; none: images must have that shape.
        preprocessing: what was done before, by the copy's maker, or other remarks on pixels.
        fingerprints: SHA-256 per side over shape, pixels and labels (``dpib.data.images.fingerprint``); empty
            for a side nobody here has seen.
    """

    name: Name
    title: str
    role: Literal["sensitive", "public"]
    source: HubSource | BundledSource | FolderSource = Field(discriminator="kind")
    shape: tuple[int, int, int]
    steps: tuple[Step, ...] = ()
    classes: tuple[str, ...]
    split: SplitRule
    fingerprints: Mapping[str, Digest]
    privacy_unit: str = "one image"
    licence: str
    gated: bool = False
    citation: str
    homepage: str
    preprocessing: str = "none"
    notes: str = ""
    supersedes: str | None = None

    @property
    def nominal_size(self) -> int:
        """N₀: nominal public size of the training side."""
        return self.split.sizes["train"]

    @property
    def verified(self) -> bool:
        """Whether somebody has loaded every side here and put its fingerprint on the card."""
        return self.fingerprints.keys() == self.split.sizes.keys()

    @property
    def delta(self) -> float:
        """δ of every run on this dataset."""
        return delta_for(self.nominal_size)

    def task(self) -> TaskInfo:
        """Return what a method is told about this dataset."""
        return TaskInfo(dataset=self.name, shape=self.shape, classes=self.classes, nominal_size=self.nominal_size)
