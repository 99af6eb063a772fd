"""The tutorial and the page of the laws, done as they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.documents import ROOT, blocks

from m2m.testing import laws

TUTORIAL = blocks(ROOT / "docs" / "tutorial.md")
#: Rows of each file that the tutorial collects, of those that there are.
ROWS = 40
LAWS = blocks(ROOT / "docs" / "howto" / "test_your_merge.md")


def environment(folder: Path) -> dict[str, str]:
    """Have `m2m` and `python3` be those under test."""
    for name, words in (("m2m", "-m m2m.cli"), ("python3", "")):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        program.chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "M2M_CACHE": str(folder / "cache"), "PATH": path}


@pytest.mark.slow
def test_the_tutorial_reaches_a_pick(tmp_path: Path) -> None:
    [collect] = [block.text for block in TUTORIAL if block.language == "python"]
    (tmp_path / "collect.py").write_text(collect, encoding="utf-8")
    given = environment(tmp_path)
    said = ""
    for block in TUTORIAL:
        if block.language != "sh":
            continue
        done = subprocess.run(
            block.text, shell=True, cwd=tmp_path, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.text}\n{done.stderr}"
        said += done.stdout
        if "collect.py" in block.text:  # less data and fewer steps: what is tested is the way, not the pick
            for path in tmp_path.glob("*.jsonl"):
                path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[:ROWS]), "utf-8")
        if "m2m init" in block.text:
            config = tmp_path / "mine" / "config.toml"
            text = config.read_text(encoding="utf-8")
            assert "steps = 200" in text
            config.write_text(
                text.replace("steps = 200", "steps = 6").replace("warmup = 20", "warmup = 2"),
                encoding="utf-8",
            )
    assert "Train on " in said
    assert (tmp_path / "mine" / "run" / "report.html").exists()


def test_the_laws_hold_as_shown_and_catch_what_the_page_says() -> None:
    [code] = [block.text for block in LAWS if block.language == "python"]
    shown: dict[str, Any] = {}
    exec(compile(code, "test_your_merge.md", "exec"), shown)
    tests = [test for name, test in shown.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    rounded: dict[str, Any] = {}
    exec(code.replace("weights.double()", "weights.bfloat16().double()"), rounded)
    experts, weights = [torch.ones(3), 2 * torch.ones(3)], torch.tensor([[1 / 3, 2 / 3]])
    laws.assert_close_to_exact(shown["merge"], experts, weights)
    with pytest.raises(AssertionError, match=r"candidate 0, element 0: got .* exceeds the bound"):
        laws.assert_close_to_exact(rounded["merge"], experts, weights)
