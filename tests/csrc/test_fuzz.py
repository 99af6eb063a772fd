"""Fuzz targets as programs of their own: seeds, and what fuzzers found, under sanitizers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cpp_programs import Builder

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
#: Target to how its runs end.
TARGETS = {
    "fuzz_stream": {"failed", "refused", "succeeded"},
    "fuzz_select": {"failed", "noticed", "succeeded"},
}


def run(
    builder: Builder, target: str, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [builder.program(f"fuzz/{target}"), *map(str, arguments)],
        env={**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_end_in_every_way_but_never_out_of_bounds(builder: Builder, target: str) -> None:
    done = run(builder, target, "seeds", 0, 300, 0)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"[a-z]+", done.stdout)) == TARGETS[target]


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzers_found_is_tried_again(builder: Builder, target: str) -> None:
    found = sorted((CORPUS / target).iterdir())
    done = run(builder, target, "files", *found)
    assert done.returncode == 0, done.stderr
    assert sum(map(int, re.findall(r"\d+", done.stdout))) == len(found) > 0


def test_a_seed_that_fails_is_told(builder: Builder) -> None:
    done = run(builder, "fuzz_stream", "seeds", 17, 1, 0, TMPDIR="/nowhere")
    assert done.returncode != 0
    assert "seed 17" in done.stderr
