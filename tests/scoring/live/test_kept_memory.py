"""Tests that freed memory serves the next forward pass, counted in pages that the system had to clear."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: Rounds of two large blocks, as of a forward pass; in the first one the heap has to grow.
_COUNT = """
import resource
import torch
from m2m.scoring.heap import keeping_memory

def rounds():
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        hidden = torch.ones(12 * 2**20)
        logits = hidden + 1
        del hidden, logits
        yield resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
usual = list(rounds())
with keeping_memory():
    kept = list(rounds())
print(sum(usual[1:]), sum(kept[1:]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs the C library glibc")
def test_pages_of_a_pass_serve_the_next_one() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 0
    assert kept < usual / 2
