"""What the README shows runs as it stands there, and what it says was measured is measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_python_runs_in_a_new_folder(tmp_path: Path) -> None:
    for name in ("csrc", "docs", "examples", "m2m", "tests", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    [snippet] = blocks("python")
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "M2M_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "snippet.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train on ")
    assert "report.html" in done.stdout
    assert (tmp_path / "runs" / "minimal" / "report.html").exists()


def test_the_configuration_is_the_example() -> None:
    assert blocks("toml") == [(ROOT / "examples" / "minimal.toml").read_text(encoding="utf-8")]


def test_a_fresh_machine_s_commands_are_in_sight() -> None:
    shell = "\n".join(blocks("sh"))
    for command in ("pip install -e '.[train]'", "m2m run examples/minimal.toml", "make demo", "make test"):
        assert command in shell


def test_every_figure_has_its_command_in_the_whole_table() -> None:
    measured = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in README.splitlines() if line.startswith("| ") and line.count(" | ") == 2]
    figures = [row for row in rows if "---" not in row and not row.startswith("| what")]
    assert len(figures) == 6
    assert set(figures) <= set(measured)
