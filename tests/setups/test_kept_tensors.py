"""Kept tensors come back as they were or not at all, whatever bit of their file flips."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m2m.errors import DataError
from m2m.setups.kept_tensors import keep_tensors, kept_tensors

TENSORS = {"a": torch.arange(50, dtype=torch.float32), "b": torch.zeros(3, dtype=torch.bfloat16)}


def test_tensors_come_back(tmp_path: Path) -> None:
    keep_tensors(TENSORS, tmp_path / "new" / "kept.pt")
    found = kept_tensors(tmp_path / "new" / "kept.pt")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@given(st.integers(0, 2**40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, at: int) -> None:
    path = tmp_path / "kept.pt"
    keep_tensors(TENSORS, path)
    content = bytearray(path.read_bytes())
    content[at // 8 % len(content)] ^= 1 << at % 8
    path.write_bytes(content)
    with suppress(DataError):
        found = kept_tensors(path)
        assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_what_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.pt"
    keep_tensors(TENSORS, path)
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="delete it: it is made again"):
            kept_tensors(path)
