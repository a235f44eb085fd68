from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpib.data.splits import salted_hash, split_by_rank
from dpib.errors import ConfigError


def ranks(dataset: str, n_pool: int) -> dict[int, int]:
    ordered = sorted(range(n_pool), key=lambda i: salted_hash(dataset, i))
    return {record_id: rank for rank, record_id in enumerate(ordered)}


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_sides_partition_the_pool_in_ascending_order(train: int, validation: int, test: int) -> None:
    n_pool = train + validation + test
    sides = split_by_rank("toy", n_pool, {"test": test, "train": train, "validation": validation})
    assert {side: len(ids) for side, ids in sides.items()} == {"train": train, "validation": validation, "test": test}
    assert torch.equal(torch.cat(list(sides.values())).sort().values, torch.arange(n_pool))
    for ids in sides.values():
        assert ids.dtype == torch.int64
        assert torch.equal(ids, ids.sort().values)


def test_the_hash_is_sha256_of_the_documented_text() -> None:
    assert salted_hash("mnist", 7) == hashlib.sha256(b"dpib-split:mnist:7").digest()


def test_the_split_is_pinned() -> None:
    # Computed once from the rule; a change here changes every released number.
    assert split_by_rank("toy", 8, {"train": 5, "validation": 3})["validation"].tolist() == [1, 6, 7]


def test_a_side_depends_on_the_rank_alone_and_a_larger_pool_only_raises_ranks() -> None:
    # With the public pool size fixed a side is a function of the id, so no record can move another. What a
    # larger pool does: hashes stay, relative order stays, ranks rise; ids never swap.
    small, large = ranks("toy", 50), ranks("toy", 80)
    assert sorted(small, key=small.__getitem__) == [i for i in sorted(large, key=large.__getitem__) if i < 50]
    assert all(large[i] >= small[i] for i in small)
    train = set(split_by_rank("toy", 50, {"train": 30, "validation": 20})["train"].tolist())
    assert train == {i for i, rank in small.items() if rank < 30}


def test_moving_the_border_moves_only_ids_between_the_borders() -> None:
    few = set(split_by_rank("toy", 100, {"train": 60, "test": 40})["train"].tolist())
    more = set(split_by_rank("toy", 100, {"train": 70, "test": 30})["train"].tolist())
    assert few < more


def test_datasets_are_divided_independently() -> None:
    sizes = {"train": 500, "test": 500}
    a, b = (set(split_by_rank(name, 1000, sizes)["train"].tolist()) for name in ("a", "b"))
    assert 200 < len(a & b) < 300  # 250 expected, standard deviation about 8


@pytest.mark.parametrize("sizes", [{"train": 3, "test": 3}, {"train": 4, "dev": 1}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="toy: expected sides"):
        split_by_rank("toy", 5, sizes)
