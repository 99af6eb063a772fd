"""`m2m run` as a process, killed with its workers at any moment: run again, it ends in the same results."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from helpers.commands import kill_after, run, start, wait_for
from helpers.linear_setup import run_config

from m2m.cli import main

CONFIG = run_config("seed = 3")


def results(folder: Path) -> dict[str, object]:
    found = json.loads((folder / "results.json").read_bytes())
    return {key: value for key, value in found.items() if key != "seconds"}


def command(folder: Path, name: str, *options: str) -> list[str]:
    """Say how to run it into a folder of that name."""
    (folder / "run.toml").write_text(CONFIG)
    return ["run", str(folder / "run.toml"), "-q", *options, "--out", str(folder / name)]


def test_a_killed_run_ends_in_the_same_results(tmp_path: Path) -> None:
    process = start(*command(tmp_path, "killed", "--workers", "1"), cwd=tmp_path)
    wait_for(lambda: len(list((tmp_path / "killed").glob("experts/*"))) > 1, process)
    assert kill_after(process, 0.01)
    assert not (tmp_path / "killed" / "results.json").exists()
    # The whole run and the one that goes on are in this process: to load torch takes longer than to run.
    for name in ("killed", "whole"):
        assert main(command(tmp_path, name, "--workers", "1")) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_many_times_ends_in_the_same_results(tmp_path: Path) -> None:
    options = ("--workers", "2", "--validate")
    started = time.perf_counter()
    whole = run(*command(tmp_path, "whole", *options), cwd=tmp_path)
    duration = time.perf_counter() - started
    assert whole.returncode == 0, whole.stderr
    delays, met = random.Random(5), 0
    for _ in range(8):
        process = start(*command(tmp_path, "killed", *options), cwd=tmp_path)
        met += kill_after(process, delays.uniform(0.3, 0.9) * duration)
    last = run(*command(tmp_path, "killed", *options), cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert met > 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
