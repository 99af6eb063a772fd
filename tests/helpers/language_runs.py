"""A language run that takes seconds: a tiny Llama, three datasets of a few lines, one target."""

from __future__ import annotations

from pathlib import Path

from helpers.hugging_face_folders import write_llama

from m2m.pipeline import config

NAMES = ("one", "two", "three")


def write_language_run(place: Path, train: str = "", run: str = "", base: str = "") -> config.RunConfig:
    """Write a model, texts and a configuration; `train`, `run` and `base` are more lines of their tables."""
    if not (place / "llama").exists():
        write_llama(place / "llama")
        for name in (*NAMES, "goal"):
            for number in range(12):
                text = f"{name} {number} and {number * 7919} more. " * 6
                (place / f"{name}{number}.txt").write_text(text)
    datasets = "\n".join(f"[setup.datasets.{name}]\nfiles = '{name}*.txt'" for name in NAMES)
    (place / "run.toml").write_text(
        f"""
[run]
target = "goal"
{run}
[train]
steps = 3
batch = 2
learning_rate = 0.02
{train}
[setup]
kind = "language"
model = "llama"
[setup.base]
context = 24
{base}
{datasets}
[setup.targets.goal]
files = "goal*.txt"
validation = 8
test = 8
"""
    )
    return config.load(place / "run.toml")
