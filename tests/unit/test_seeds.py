"""Seeds of torch's global generators: the same draws as with torch's own, on devices too, and nothing after them."""

from __future__ import annotations

import pytest
import torch

from dpib.seeds import Seeds, seeded


def test_draws_inside_are_those_of_the_seed_and_leave_no_trace() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3), torch.rand(3)
    torch.manual_seed(1)
    with seeded(5):
        inside = torch.randn(3), torch.rand(3)
    after = torch.randn(3)
    torch.manual_seed(1)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(inside, expected, strict=True))
    assert torch.equal(after, torch.randn(3))


def test_names_and_indices_have_draws_of_their_own() -> None:
    def draw(name: str, *indices: int) -> tuple[float, ...]:
        with Seeds(0).init(name, *indices):
            return tuple(torch.rand(2).tolist())

    draws = {draw("a"), draw("b"), draw("a", 0), draw("a", 1), draw("a", 0, 1)}
    assert len(draws) == 5
    assert draw("a", 1) in draws


def test_where_there_are_devices_all_of_them_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    monkeypatch.setattr(torch, "manual_seed", told.append)
    with seeded(7):
        pass
    assert told == [7]
