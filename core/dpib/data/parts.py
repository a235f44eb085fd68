"""Which of M disjoint parts a record is in: a public hash of the record alone."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from dpib.data.images import LabelledImages


def part_numbers(data: LabelledImages, dataset: str, parts: int) -> Tensor:
    """Return the part of each record, int64 (N,) in 0..parts-1.

    A part is SHA-256 of the dataset's public name, the label and the pixels, modulo ``parts``. It is a function of
    the record and public facts: no other record enters, neither their number nor the record's position. So adding or
    removing a record moves no other one, which parallel composition needs (privacy 6). Duplicates share a part.

    Args:
        data: the records.
        dataset: public name, the salt.
        parts: M, public.
    """
    images, labels = data.images.contiguous().numpy(), data.labels.tolist()
    found = []
    for image, label in zip(images, labels, strict=True):
        digest = hashlib.sha256(f"dpib-part:{dataset}:{label}:".encode() + image.tobytes()).digest()
        found.append(int.from_bytes(digest[:16]) % parts)
    return torch.tensor(found, dtype=torch.int64)
