"""Runs of linear regression on as many datasets as wanted, advised by the theory as `m2m.run` is."""

from __future__ import annotations

from pathlib import Path

from m2m import pipeline
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.support.progress import Progress
from m2m.verbs.theory import adviser


def write_config(
    folder: Path, run: str = "", *, names: str = "abcd", seed: int = 11, target: str = '"target"'
) -> Path:
    """Write a configuration, of targets `target` and `other`; `run` is more lines of its `[run]` table."""
    (folder / "linear.py").write_text(
        "from helpers.linear_setup import linear_setup\n"
        "from m2m.setups.protocol import Target\n"
        "def make(spec):\n"
        "    setup = linear_setup(seed=spec['seed'], names=spec['names'], examples=4)\n"
        "    target = setup.targets['target']\n"
        "    setup.targets['other'] = Target(target.test, target.validation)\n"
        "    return setup\n"
    )
    path = folder / "run.toml"
    path.write_text(
        f"[run]\ntarget = {target}\nseed = 3\n{run}\n"
        '[train]\nsteps = 3\nbatch = 2\noptimizer = "sgd"\nlearning_rate = 0.05\n'
        f'[setup]\nkind = "python"\nfactory = "linear.py:make"\nnames = "{names}"\nseed = {seed}\n'
    )
    return path


def run(path: Path, out: Path, progress: Progress | None = None) -> RunFolder:
    """Run a configuration in this process."""
    return pipeline.run(config.load(path), out, workers=1, progress=progress, adviser=adviser)
