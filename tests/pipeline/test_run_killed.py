"""`m2m run` as a process, killed with its workers at any moment: run again, it ends in the same results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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


def kill_at(process: subprocess.Popen[str], folder: Path, files: int) -> bool:
    """Kill it when it has written so many files; say whether it was not done before."""
    wait_for(lambda: count_files(folder) >= files, process, every=0.01)
    return kill_after(process, 0)


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def test_a_killed_run_ends_in_the_same_results(tmp_path: Path) -> None:
    killed = False
    while not killed:  # a busy machine may look when the run is done
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        process = start(*command(tmp_path, "killed", "--workers", "1"), cwd=tmp_path)
        killed = kill_at(process, tmp_path / "killed" / "experts", files=2)
    assert not (tmp_path / "killed" / "results.json").exists()
    # The whole run and the one that goes on are in this process: to load torch takes longer than to run.
    for name in ("killed", "whole"):
        assert main(command(tmp_path, name, "--workers", "1")) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_many_times_ends_in_the_same_results(tmp_path: Path) -> None:
    options = ("--workers", "2", "--validate")
    whole = run(*command(tmp_path, "whole", *options), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    files, met = count_files(tmp_path / "whole"), 0
    for third in range(1, 3):
        process = start(*command(tmp_path, "killed", *options), cwd=tmp_path)
        met += kill_at(process, tmp_path / "killed", files * third // 3)
    last = run(*command(tmp_path, "killed", *options), cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert met > 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
