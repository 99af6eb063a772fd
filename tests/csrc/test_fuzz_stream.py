"""Mutated plans through the stream executor: refused, failed by name or done, and never out of bounds."""

from __future__ import annotations

import os
import re
import subprocess

from cpp_programs import Builder

#: CI goes on for longer.
SECONDS = os.environ.get("M2M_FUZZ_SECONDS", "0")


def test_mutated_plans_never_lead_out_of_bounds(builder: Builder) -> None:
    environment = {**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1"}
    command = [builder.program("fuzz/fuzz_stream"), "0", "300", SECONDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout.strip())
    outcomes = re.findall(r"\d+ (refused|failed|succeeded)", done.stdout)
    assert sorted(outcomes) == ["failed", "refused", "succeeded"], done.stdout


def test_a_seed_that_fails_is_told(builder: Builder) -> None:
    environment = {**os.environ, "TMPDIR": "/nowhere"}
    command = [builder.program("fuzz/fuzz_stream"), "17", "1", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "seed 17" in done.stderr
