"""The process stays within the budget, with experts several times as large."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "helpers" / "streamed_memory.py"
MIB = 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("model", "candidates"), [("byte gpt", 3), ("llama", 16)])
def test_the_peak_is_within_the_budget(model: str, candidates: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, model, "64", str(candidates)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    experts, read, added = map(int, done.stdout.split())
    assert experts > 4 * 64 * MIB
    assert read == experts
    assert added <= 64 * MIB
