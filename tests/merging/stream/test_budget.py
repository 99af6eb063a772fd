"""Memory and time do not grow with the model: a bounded number of buffers, a bounded cost a tensor."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.linear_merges import merge_linear
from hypothesis import given
from hypothesis import strategies as st

from m2m.checkpoint import save
from m2m.errors import ConfigError
from m2m.merging.stream import memory, passes
from m2m.merging.stream.memory import plan_staging

MIB = 2**20

#: Prints how much more memory the process held than before the merge.
CHILD = """
import json, sys
from m2m.merging import merge
from m2m.support import process_memory
before = process_memory.peak_resident_bytes()
models = [{"model": path, "parameters": {"weight": 0.5}} for path in sys.argv[1:3]]
report = merge({"merge_method": "linear", "models": models}, sys.argv[3], threads=2)
print(json.dumps([report.peak_rss_bytes - before, report.threads * 3 * report.slot_bytes]))
"""


def test_peak_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    added = {}
    for size in (8, 96):
        tensor = torch.zeros(size * MIB // 2, dtype=torch.bfloat16)
        inputs = [str(save({"a": tensor}, tmp_path / f"{size}_{i}")) for i in range(2)]
        command = [sys.executable, "-c", CHILD, *inputs, str(tmp_path / f"out{size}")]
        child = subprocess.run(command, capture_output=True, text=True, check=True)
        added[size], staging = json.loads(child.stdout)
        assert added[size] < staging + 8 * MIB
    assert abs(added[96] - added[8]) < 4 * MIB


@given(
    budget=st.integers(1, 2**34),
    threads=st.none() | st.integers(1, 512),
    n=st.integers(1, 300),
    m=st.integers(1, 300),
    scratch=st.integers(0, 2**28),
)
def test_buffers_fit_the_budget(budget: int, threads: int | None, n: int, m: int, scratch: int) -> None:
    try:
        staging = plan_staging(budget, threads, n, m, scratch_bytes=scratch)
    except ConfigError:
        assert budget < (n + m) * 4096 + scratch
        return
    assert staging.threads * ((n + m) * staging.slot_bytes + scratch) <= budget
    assert staging.threads >= 1
    assert staging.slot_bytes % 4096 == 0
    assert 4096 <= staging.slot_bytes <= memory.SLOT_BYTES


WIDE = """
import json, sys
from m2m.support import process_memory
from m2m.merging import merge
models = [{"model": path, "parameters": {"weight": 1}} for path in sys.argv[1:3]]
parameters = {"nuslerp_flatten": False, "nuslerp_row_wise": True}
recipe = {"merge_method": "nuslerp", "models": models, "parameters": parameters}
before = process_memory.peak_resident_bytes()
report = merge(recipe, sys.argv[3], threads=2, memory=sys.argv[4])
print(json.dumps([report.peak_rss_bytes - before, report.threads]))
"""


def test_sums_along_many_columns_count_towards_the_budget(tmp_path: Path) -> None:
    columns, budget = 40_000, 24 * MIB
    inputs = [str(save({"a": torch.randn(16, columns)}, tmp_path / f"m{n}")) for n in range(2)]
    command = [sys.executable, "-c", WIDE, *inputs, str(tmp_path / "out"), str(budget)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    added, threads = json.loads(child.stdout)
    sums = 3 * 16 * 8 * columns  # of the three pairs, in 16 lanes; those of two workers would not fit
    assert threads == 1
    assert sums < added < budget + 8 * MIB


TRIMMED = """
import json, sys
from m2m.support import process_memory
from m2m.merging import merge
each = {"weight": 1, "density": 0.5}
models = [{"model": path, "parameters": each} for path in sys.argv[2:4]]
before = process_memory.peak_resident_bytes()
recipe = {"merge_method": "breadcrumbs", "base_model": sys.argv[1], "models": models}
report = merge(recipe, sys.argv[4], threads=2, memory=sys.argv[5])
print(report.peak_rss_bytes - before)
"""


def test_thresholds_of_many_tensors_are_not_sought_at_once(tmp_path: Path) -> None:
    budget = 32 * MIB
    state = {f"t{i}": torch.randn(40_000) for i in range(60)}  # their counts would take 2 MiB each
    inputs = [
        str(save({name: t + 0.1 * n * t.roll(n) for name, t in state.items()}, tmp_path / f"m{n}"))
        for n in range(3)
    ]
    command = [sys.executable, "-c", TRIMMED, *inputs, str(tmp_path / "out"), str(budget)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(child.stdout) < budget + 8 * MIB


def test_many_small_tensors_are_cheap(tmp_path: Path) -> None:
    def calls_to_merge(count: int) -> int:
        state = {f"layers.{i}.w": torch.full((8,), float(i)) for i in range(count)}
        inputs = [save(state, tmp_path / f"{count}_{i}") for i in range(2)]
        calls = itertools.count()
        sys.setprofile(lambda *_: next(calls))
        merge_linear(inputs, [[0.5, 0.5]], tmp_path / f"out{count}", threads=1)
        sys.setprofile(None)
        return next(calls)

    calls_to_merge(10)
    few, many = calls_to_merge(500), calls_to_merge(4000)
    assert (many - few) / 3500 < 200


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    inputs = [save({"a": torch.ones(100_000)}, tmp_path / f"m{i}") for i in range(2)]
    seen: list[tuple[int, int, str]] = []
    merge_linear(inputs, [[0.5, 0.5]], tmp_path / "out", progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] == 400_000
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_ctrl_c_stops_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 10_000_000
    inputs = [save({"a": torch.ones(size)}, tmp_path / f"m{i}") for i in range(2)]
    monkeypatch.setattr(passes, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(memory, "SLOT_BYTES", 4096)

    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    done = 4 * size
    while done == 4 * size:  # a busy machine may hear of it only when nothing is left to stop
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        with pytest.raises(KeyboardInterrupt):
            merge_linear(inputs, [[0.5, 0.5]], out, threads=1, progress=interrupt)
        assert not out.exists()
        done = merge_linear(inputs, [[0.5, 0.5]], out, resume=True).resumed_bytes
