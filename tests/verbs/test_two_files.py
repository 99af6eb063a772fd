"""docs/data.md: two files of one's own, three commands, a pick; run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_three_commands(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    from helpers.chat_folders import write_chat_llama

    section = PAGE.partition("## Two files, three commands\n")[2]
    commands = re.findall(r"```sh\n(.*?)```", section, re.S)[0].splitlines()
    assert len(commands) == 3
    base = re.findall(r"--base (\S+)", commands[0])[0]
    write_chat_llama(tmp_path / base)
    for name in ("support", "public"):
        rows = [
            {"prompt": f"How is {name} {n}?", "completion": f"{name} {n * 7919} is well"} for n in range(400)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = tmp_path / "bin" / "m2m"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m m2m.cli "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "M2M_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if " init " in command:  # fewer steps: what is tested is the way, not the pick
            config = tmp_path / "mine" / "config.toml"
            text = config.read_text(encoding="utf-8")
            assert "\nsteps = " in text
            config.write_text(re.sub(r"(?m)^steps = \d+", "steps = 6", text), encoding="utf-8")
    assert done.stdout.startswith("Train on ")
    assert (tmp_path / "mine" / "run" / "report.html").exists()
