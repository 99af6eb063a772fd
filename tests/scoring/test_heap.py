"""The heap: freed memory serves the next forward pass; while a budget is kept it goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from m2m.scoring.heap import returning_memory

MIB = 2**20
#: Rounds of two large blocks, as of a forward pass. In the first few the heap may grow still: a small block
#: that stays behind a large one keeps the freed place from serving a block that wants to be aligned.
_COUNT = """
import resource
import torch
from m2m.scoring.heap import keeping_memory

def rounds():
    for _ in range(30):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        hidden = torch.ones(9 * 2**20)
        logits = hidden + 1
        del hidden, logits
        yield resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
usual = sum(rounds())
with keeping_memory():
    kept = sum(rounds())
print(usual, kept)
"""
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc on Linux"
)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def make_holes() -> list[torch.Tensor]:
    """Leave 64 MiB free in the heap, between tensors that stay."""
    ctypes.CDLL(None).mallopt(-3, 32 * MIB)  # blocks come from the heap
    tensors = [torch.ones(MIB // 4) for _ in range(128)]
    return tensors[::2]


def test_blocks_do_not_come_from_holes_and_leave_nothing() -> None:
    kept = make_holes()
    with returning_memory():
        before = resident()
        tensors = [torch.ones(MIB // 4) for _ in range(48)]
        assert resident() - before > 47 * MIB
        del tensors
        assert resident() - before < 4 * MIB
    assert sum(float(tensor.sum()) for tensor in kept) == 64 * MIB // 4


def test_holes_can_be_used_again_afterwards() -> None:
    kept = make_holes()
    heap_end = ctypes.CDLL(None).sbrk
    heap_end.restype = ctypes.c_void_p
    end = heap_end(0)
    with returning_memory():
        outside = torch.empty(MIB // 4)
    inside = torch.empty(MIB // 4)
    assert inside.data_ptr() < end < outside.data_ptr()
    assert len(kept) == 64


def test_pages_of_a_pass_serve_the_next_one() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 0
    assert kept < usual / 2
