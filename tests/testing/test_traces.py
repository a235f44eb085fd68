"""What was before the noise is found wherever it is written."""

from __future__ import annotations

import pytest
import torch

from dpib.testing.traces import holder_of

VALUES = torch.randn(200, generator=torch.Generator().manual_seed(0))
OTHERS = {"other.bin": torch.randn(5000, generator=torch.Generator().manual_seed(1)).numpy().tobytes()}


@pytest.mark.parametrize("before", range(9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_are_found_at_any_place(before: int, dtype: torch.dtype) -> None:
    held = b"\x01" * before + VALUES[:40].to(dtype).numpy().tobytes()
    assert holder_of([VALUES], {**OTHERS, "a.bin": held}, {}) == "a.bin"
    assert holder_of([VALUES], {"a.bin": held[: before + 3 * dtype.itemsize]}, {}) is None, "three values are no run"


def test_digits_are_found_in_files_and_printed_text() -> None:
    value = VALUES[17].item()
    for text in (f"[{value}]", f"loss={value:.6f}", f"1{abs(value):.9f}"):
        assert holder_of([VALUES], OTHERS, {"the output": text}) == "the output"
        assert holder_of([VALUES], {"log": b"\xff\x00" + text.encode() + b"\xfe"}, {}) == "log"
    assert holder_of([VALUES], OTHERS, {"the output": f"{value:.3f} of 1.25 in 3 s"}) is None


@pytest.mark.parametrize("tensor", [torch.zeros(50), torch.arange(50.0), torch.empty(0)])
def test_what_anybody_could_write_is_no_trace(tensor: torch.Tensor) -> None:
    held = {"a.bin": tensor.numpy().tobytes(), "empty": b""}
    assert holder_of([tensor], held, {"the output": str(tensor.tolist())}) is None
