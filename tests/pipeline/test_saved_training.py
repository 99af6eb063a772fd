"""`save_every` in a run that is killed by SIGKILL inside a training: it goes on there, to the same bits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from helpers.commands import start, wait_for
from helpers.linear_setup import run_config

from m2m.cli import main

#: A user's set-up whose loss stops for ever at its 17th step, once, and says that it is there.
FACTORY = """
import sys
import time
from pathlib import Path
sys.path.append({tests!r})
from helpers.linear_setup import LinearSetup, linear_setup

PLACE, steps = Path({place!r}), []

class Stopping(LinearSetup):
    def loss(self, model, batch):
        steps.append(1)
        if len(steps) == 17 and not (PLACE / "here").exists():
            (PLACE / "here").touch()
            time.sleep(3600)
        (PLACE / "steps").write_text(str(len(steps)))
        return super().loss(model, batch)

def make(spec):
    plain = linear_setup(seed=11, examples=4)
    return Stopping(plain.datasets, plain.targets)
"""


def write(place: Path) -> None:
    text = run_config("seed = 3").replace("steps = 3", "steps = 12\nsave_every = 2")
    (place / "run.toml").write_text(text.partition("factory")[0] + 'factory = "stopping.py:make"\n')
    (place / "stopping.py").write_text(FACTORY.format(place=str(place), tests=str(Path(__file__).parents[1])))


def models(root: Path) -> dict[str, bytes]:
    """Read the weights and losses of every training."""
    files = [*root.glob("*/*/seed3/model.safetensors"), *root.glob("*/*/seed3/loss.csv")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_killed_training_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    write(tmp_path)
    options = ("-q", "--workers", "1", "--out")
    process = start("run", tmp_path / "run.toml", *options, tmp_path / "killed", cwd=tmp_path)
    wait_for(lambda: (tmp_path / "here").exists(), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    saved = tmp_path / "killed" / "experts" / "b" / "seed3.saved"
    assert saved.is_file(), "four steps of the second expert were done, of 12"
    assert not (tmp_path / "killed" / "experts" / "b" / "seed3").exists()
    for name in ("killed", "whole"):
        assert main(["run", str(tmp_path / "run.toml"), *options, str(tmp_path / name)]) == 0
    assert models(tmp_path / "killed") == models(tmp_path / "whole")
    assert not [*tmp_path.rglob("*.saved")]
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("killed", "whole")]
    assert results[0]["test"] == results[1]["test"]
