"""The tutorial and the page of the laws, done as they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.documents import ROOT, blocks

TUTORIAL = blocks(ROOT / "docs" / "tutorial.md")
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
        if "m2m init" in block.text:  # fewer steps: what is tested is the way, not the pick
            config = tmp_path / "mine" / "config.toml"
            text = config.read_text(encoding="utf-8")
            assert "steps = 200" in text
            config.write_text(
                text.replace("steps = 200", "steps = 6").replace("warmup = 20", "warmup = 2"),
                encoding="utf-8",
            )
    assert "Train on " in said
    assert (tmp_path / "mine" / "run" / "report.html").exists()


def test_the_laws_pass_as_shown_and_catch_what_the_page_says(tmp_path: Path) -> None:
    [code] = [block.text for block in LAWS if block.language == "python"]
    rounded = code.replace("weights.double()", "weights.bfloat16().double()")
    assert rounded != code
    for name, text in (("right", code), ("rounded", rounded)):
        (tmp_path / f"test_{name}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed
    assert all("test_rounded.py::test_it_is_close_to_exact" in line for line in failed), done.stdout
    assert "of the bound" in done.stdout
