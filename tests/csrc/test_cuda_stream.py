"""The emulated CUDA runtime sees a wait that is missing, and memory given back too early."""

from __future__ import annotations

import subprocess

import pytest
from cpp_programs import Builder

TAILS = "tails_and_many_outputs_are_whole"
FAILING = "whichever_call_fails_the_stream_ends_and_says_so"


@pytest.mark.parametrize(
    ("right", "wrong", "case", "seen"),
    [
        ("for (Lane& lane : lanes) lane.wait();", "", TAILS, "got == wanted failed"),
        ("for (Lane& lane : lanes) lane.drain();", "", FAILING, "while the device may use it"),
    ],
)
def test_a_seeded_bug_is_caught(builder: Builder, right: str, wrong: str, case: str, seen: str) -> None:
    program = builder.program_with_bug("cuda_cases", "cuda/device", right, wrong)
    done = subprocess.run([program, case], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert seen in done.stderr
